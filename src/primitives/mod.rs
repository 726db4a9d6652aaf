//! Building blocks that know nothing of peers: clock, randomness, locks, notifier, buffer pool and
//! lazily boxed values.

pub(crate) mod buffer_pool;
pub(crate) mod callback;
pub(crate) mod clock;
pub(crate) mod hidden;
pub(crate) mod lazy_box;
pub(crate) mod lock;
pub(crate) mod notify;
pub(crate) mod random;
