"""Keeps asking a URL for so many seconds from so many threads, each on a connection that it keeps; prints how many requests there
were, how many failed, and how the first did."""
import http.client, sys, threading, time, urllib.parse

url, seconds, threads = urllib.parse.urlsplit(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
end = time.monotonic() + seconds
count, failures, lock = 0, [], threading.Lock()


def work():
    global count
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    while time.monotonic() < end:
        failure = None
        try:
            connection.request("GET", url.path)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                failure = f"{response.status} {response.getheader('conduit-proxy-error')} {body[:200]!r}"
        except OSError as error:
            failure = repr(error)
        except http.client.HTTPException as error:
            failure = repr(error)
        if failure:
            connection.close()
        with lock:
            count += 1
            if failure:
                failures.append(failure)


workers = [threading.Thread(target=work) for _ in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(count, len(failures), failures[:1])
