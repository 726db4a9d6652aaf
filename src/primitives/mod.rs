//! Parts that know nothing of peers: a clock, random bits, a notifier, buffers, a lazy box.

pub(crate) mod buffer_pool;
pub(crate) mod clock;
pub(crate) mod lazy_box;
pub(crate) mod notify;
pub(crate) mod random;
