use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// For how long a peer seemed silent, each second: whether something was asked, and how long ago it acknowledged something.
fn looks(found: &[(bool, Duration)]) -> Vec<u64> {
    let start = Instant::now();
    let mut silence = Silence { looked: start, since: Some(start) };
    let looks = found.iter().zip(1..).map(|((asked, heard), second)| {
        let found = Unanswered { asked: *asked, queued: true, heard: *heard };
        silence.look(found, start + second * SECOND).as_secs()
    });
    looks.collect()
}

#[test]
fn a_peer_that_acknowledges_nothing_is_silent_since_bytes_were_sent() {
    let long_ago = 100 * SECOND;
    assert_eq!(
        looks(&[(true, long_ago), (true, long_ago + SECOND), (true, long_ago + 2 * SECOND)]),
        [1, 2, 3]
    );
}

#[test]
fn a_peer_that_acknowledges_is_not_silent_however_much_is_on_its_way() {
    assert_eq!(looks(&[(true, SECOND / 2); 4]), [0; 4]);
}

#[test]
fn a_peer_that_does_not_read_and_answers_when_asked_for_room_is_not_silent() {
    assert_eq!(
        looks(&[(false, SECOND), (false, 2 * SECOND), (true, 3 * SECOND), (false, SECOND / 4)]),
        [0; 4]
    );
}
