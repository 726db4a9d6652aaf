//! Bad neighbours beside good ones: what a stranger or a listener does to this node costs itself
//! only.

mod aliases;
mod handshake_and_close;
mod identity_churn;
mod ignored_frames;
mod inside_a_frame;
mod no_acknowledgement;
mod one_frame_and_gone;
mod ordinary_frames;
mod places;
mod rings;
mod slow_router;
mod stranger;
