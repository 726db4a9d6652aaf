//! A scripted plain peer plays a Ratman node, as dialer and as listener, against an endpoint.

mod frames;
mod handshake;
mod limited;
mod links;
mod restored;
