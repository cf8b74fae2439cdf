//! Golden metrics from the proxies' own reports, over the last 10 s, minute and 10 minutes: no other system is needed.

mod past;
pub mod series;
pub mod service;
