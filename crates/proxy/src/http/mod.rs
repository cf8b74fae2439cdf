//! Tools for HTTP: heads of HTTP/1 messages, answers of the proxy's own, and HTTP/2 streams, as messages and as tunnels. They
//! know no destination and no policy, and never call a stage.

pub mod head;
pub mod answer;
pub mod exchange;
pub mod refuse;
pub mod line;
pub mod gather;
pub mod streams;
pub mod trunk;
pub mod tunnel;
