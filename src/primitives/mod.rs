//! Building blocks that know nothing of peers: clock, randomness, notifier, buffer pool, lazy box.

pub(crate) mod buffer_pool;
pub(crate) mod clock;
pub(crate) mod lazy_box;
pub(crate) mod notify;
pub(crate) mod random;
