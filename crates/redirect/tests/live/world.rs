//! A node and two pods, each a network namespace, made anew for every test in a process of its own. Depends on the
//! right to make a user or a network namespace. Deliberately no clean-up: all of it ends with the process.
#![expect(unsafe_code, reason = "namespaces have no safe interface in std")]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::netlink::{add_address, add_default_route, add_veth, set_up};

/// How long what must happen may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long what must not happen is waited for; two tries of a SYN, the second after a second.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Set in the process that runs one test.
const INSIDE: &str = "CONDUIT_REDIRECT_TEST_INSIDE";

/// A pod: a network namespace behind the node.
pub(crate) struct Pod {
    namespace: File,
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
}

/// The calling process is in the node's namespace.
pub(crate) struct World {
    pub(crate) a: Pod,
    pub(crate) b: Pod,
}

/// Runs the test in a world of its own.
pub(crate) fn in_a_world<F: FnOnce(World)>(test: F) {
    if std::env::var_os(INSIDE).is_some() {
        return test(World::new());
    }
    // The closure's type is named for the test function that it stands in, and so is the test.
    let name = std::any::type_name::<F>();
    let name = name.trim_end_matches("::{{closure}}").split_once("::").expect("a path").1;
    let mut command = Command::new(std::env::current_exe().expect("our own executable"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    // SAFETY: between fork and exec, `enter_new_network` makes system calls and writes three files.
    unsafe { command.pre_exec(enter_new_network) };
    let output = command.output().expect(
        "network namespaces are needed: run as root, or allow user namespaces (sysctl user.max_user_namespaces and \
         kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns)",
    );
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{name} failed:\n{out}\n{err}");
}

/// Goes into a new network namespace, and into a new user namespace if that is what it takes.
fn enter_new_network() -> io::Result<()> {
    // SAFETY: neither call takes a pointer.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: unshare takes no pointer.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

impl World {
    fn new() -> Self {
        set_up("lo");
        skip_duplicate_detection();
        let world = Self { a: Pod::new("to-a", 1), b: Pod::new("to-b", 2) };
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding can be switched on");
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
            .expect("IPv6 is there and can be forwarded");
        world
    }
}

impl Pod {
    fn new(interface: &str, subnet: u8) -> Self {
        let namespace = thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: unshare takes no pointer, and changes the namespace of this thread alone.
                let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "no network namespace: {}", io::Error::last_os_error());
                skip_duplicate_detection();
                File::open("/proc/thread-self/ns/net").expect("our own namespace")
            });
            made.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        let address = |host: u8| -> (IpAddr, IpAddr) {
            let v6 = Ipv6Addr::new(0xfd00, subnet.into(), 0, 0, 0, 0, 0, host.into());
            ([10, subnet, 0, host].into(), v6.into())
        };
        let (gateway, (v4, v6)) = (address(1), address(2));
        add_veth(interface, "eth0", namespace.as_fd());
        set_up(interface);
        add_address(interface, gateway.0, 24);
        add_address(interface, gateway.1, 64);
        let pod = Self { namespace, v4, v6 };
        pod.run(|| {
            set_up("lo");
            set_up("eth0");
            add_address("eth0", v4, 24);
            add_address("eth0", v6, 64);
            add_default_route(gateway.0);
            add_default_route(gateway.1);
        });
        pod
    }

    /// Both addresses, for what has to hold for IPv4 and IPv6 alike.
    pub(crate) fn ips(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// Runs this inside the pod.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: setns takes no pointer, and changes the namespace of this thread alone.
                let result = unsafe { libc::setns(self.namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "cannot enter the pod: {}", io::Error::last_os_error());
                inside()
            });
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Listens in the pod, on all its addresses.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.run(|| listen(port))
    }

    /// Connects from the pod.
    pub(crate) fn connect(&self, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let to = to.into();
        self.run(|| connect(to, None))
    }
}

/// Makes link-local addresses usable at once; until they are, a router cannot ask for its neighbours.
fn skip_duplicate_detection() {
    std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").expect("IPv6 is there");
}

/// Listens on all addresses, IPv4 and IPv6.
pub(crate) fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("the port is free");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    listener
}

/// Connects, with a mark if there is one; gives up soon.
pub(crate) fn connect(to: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(mark) = mark {
        conduit_redirect::set_mark(&socket, mark)?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// The connection that arrived here; it must.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout_ms = i32::try_from(DEADLINE.as_millis()).expect("a short deadline");
    // SAFETY: the pointer is to one pollfd, as the count says, and the descriptor is open.
    let ready = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    assert_eq!(ready, 1, "no connection arrived at {:?}", listener.local_addr());
    listener.accept().expect("poll said that there is one").0
}

/// Whether a connection waits here.
pub(crate) fn try_accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.accept().ok().map(|(stream, _)| stream)
}
