//! What another proxy says of its application, and what follows for the request.

use super::*;

#[test]
fn what_the_application_refused_goes_elsewhere_and_what_it_was_lost_with_only_where_that_is_harmless() {
    let (connect, reset) = (Reason::Connect.as_str(), Reason::Reset.as_str());
    assert_eq!(again(connect, b"POST"), Some(Reason::Connect));
    assert_eq!(again(reset, b"GET"), Some(Reason::Reset));
    assert_eq!(again(reset, b"POST"), None);
    assert_eq!(again(Reason::Protocol.as_str(), b"GET"), None);
}
