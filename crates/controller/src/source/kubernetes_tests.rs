use super::*;
use serde_json::json;

fn pod(name: &str) -> (Key, Result<Object, String>) {
    let lean: Lean<Pod> =
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}})).unwrap();
    (lean.key(), lean.object)
}

fn names(event: &Event) -> Vec<String> {
    match event {
        Event::Replace { objects, .. } => objects.iter().map(|object| object.key().2).collect(),
        Event::Apply(object) => vec![object.key().2],
        Event::Delete(key) => vec![key.2.clone()],
    }
}

fn list(reader: &mut Reader, kind: Kind, objects: Vec<(Key, Result<Object, String>)>) -> Vec<Event> {
    let mut events = Vec::new();
    reader.take(Said::Begin(kind), &mut events);
    for (key, object) in objects {
        reader.take(Said::Listed(key, object), &mut events);
    }
    reader.take(Said::End(kind), &mut events);
    events
}

fn listed() -> Reader {
    let mut reader = Reader::new(Watches::new());
    for kind in Kind::ALL {
        list(&mut reader, kind, if kind == Kind::Pod { vec![pod("a"), pod("b")] } else { Vec::new() });
    }
    reader
}

#[test]
fn nothing_is_told_before_every_kind_was_listed() {
    let mut reader = Reader::new(Watches::new());
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Job) {
        let objects = if kind == Kind::Pod { vec![pod("a")] } else { Vec::new() };
        assert_eq!(list(&mut reader, kind, objects), []);
    }
    let mut events = Vec::new();
    let (key, object) = pod("b");
    reader.take(Said::Now(key, object), &mut events);
    for _ in 0..100 {
        let (key, object) = pod("c");
        reader.take(Said::Now(key.clone(), object), &mut events);
        reader.take(Said::Gone(key), &mut events);
    }
    assert_eq!(events, [], "a change that comes meanwhile waits too");
    let held = &reader.first.as_ref().unwrap()[&Kind::Pod];
    assert_eq!(held.objects.len(), 2, "what waits is objects, however often they change");
    let events = list(&mut reader, Kind::Job, Vec::new());
    let mut told: Vec<_> = events.iter().flat_map(names).collect();
    told.sort();
    assert_eq!(told, ["a", "b"]);
    assert_eq!(events.len(), Kind::ALL.len());
}

#[test]
fn a_list_that_is_broken_off_and_begun_again_says_nothing_twice() {
    let mut reader = listed();
    let mut events = Vec::new();
    reader.take(Said::Begin(Kind::Pod), &mut events);
    let (key, object) = pod("a");
    reader.take(Said::Listed(key, object), &mut events);
    assert_eq!(events, []);
    let events = list(&mut reader, Kind::Pod, vec![pod("b"), pod("c")]);
    assert_eq!(events.iter().flat_map(names).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn what_cannot_be_understood_is_told_until_it_can_or_is_gone() {
    let mut reader = listed();
    let mut events = Vec::new();
    let key = pod("a").0;
    reader.take(Said::Now(key.clone(), Err("nonsense".into())), &mut events);
    assert_eq!(events, [], "what it said before stays in force");
    assert_eq!(reader.problems()[0].to_string(), "Pod shop/a: nonsense");
    let events = list(&mut reader, Kind::Pod, vec![(key.clone(), Err("nonsense".into())), pod("b")]);
    assert!(matches!(&events[..], [Event::Replace { keep, .. }] if keep.contains(&key)), "{events:?}");
    assert_eq!(reader.problems().len(), 1);
    list(&mut reader, Kind::Service, Vec::new());
    assert_eq!(reader.problems().len(), 1, "another kind's list does not concern it");
    let mut events = Vec::new();
    reader.take(Said::Gone(key), &mut events);
    assert_eq!((events.len(), reader.problems().len()), (1, 0));
    let refused: u64 = reader.watches.all().map(|(_, watch)| watch.refused.load(Ordering::Relaxed)).sum();
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn a_failed_watch_changes_nothing_and_is_counted() {
    let watches = Watches::new();
    let (changes, mut batches) = mpsc::channel(4);
    let mut said: Vec<Said> = Vec::new();
    for kind in Kind::ALL {
        said.extend([Said::Begin(kind), Said::End(kind)]);
    }
    said.push(Said::Failed(Kind::Pod, watcher::Error::NoResourceVersion));
    read(futures_util::stream::iter(said), watches.clone(), changes).await;
    let (events, problems) = batches.recv().await.unwrap();
    assert_eq!((events.len(), problems.len()), (Kind::ALL.len(), 0));
    assert!(batches.recv().await.is_none());
    let (_, pods) = watches.all().next().unwrap();
    assert_eq!(pods.errors.load(Ordering::Relaxed), 1);
    assert_eq!(pods.lists.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_watch_is_begun_anew_with_pauses_and_what_broke_off_is_resumed() {
    let begun = Arc::new(AtomicU64::new(0));
    let (count, began) = (begun.clone(), Instant::now());
    let begin = move || -> Events<Pod> {
        count.fetch_add(1, Ordering::Relaxed);
        // A Status that is spread over several lines, as an answer to the watch.
        let line = || kube::Error::SerdeError(serde_json::from_str::<u8>("{").unwrap_err());
        let broken = watcher::Error::WatchFailed(kube::Error::LinesCodecMaxLineLengthExceeded);
        let events = vec![
            Ok(watcher::Event::Init),
            Err(broken),
            Ok(watcher::Event::InitDone),
            Err(watcher::Error::WatchFailed(line())),
            Err(watcher::Error::WatchFailed(line())),
        ];
        futures_util::stream::iter(events).boxed()
    };
    let seen: Vec<_> = endless(begin).map(|event| event.is_ok()).take(8).collect().await;
    assert_eq!(seen, [true, false, true, false, true, false, true, false]);
    assert_eq!(begun.load(Ordering::Relaxed), 3, "begun anew at the first line, not at each");
    assert!(began.elapsed() >= PAUSE_MIN / 2 * 3, "{:?}", began.elapsed());
    let mut pauses = Pauses::new();
    let longest = (0..20).map(|_| pauses.after_error(began)).max().unwrap();
    assert!(longest <= PAUSE_MAX.mul_f64(1.5));
    assert!(pauses.after_error(began + WELL_AFTER * 2) <= PAUSE_MIN.mul_f64(1.5), "it was well meanwhile");
}
