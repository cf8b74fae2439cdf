//! HTTP/2 without its sockets: the frames and header blocks of a connection, read, written and followed. A proxy that only passes a
//! connection on watches it (`frames`); one that takes part in it holds one end of it (`connection`).
//!
//! Source: RFC 9113 (HTTP/2), RFC 7541 (HPACK).

pub mod wire;
pub mod huffman;
pub mod hpack;
pub mod encoder;
pub mod fields;
pub mod frames;
pub mod reader;
pub mod streams;
pub mod connection;
