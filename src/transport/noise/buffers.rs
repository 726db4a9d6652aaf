//! The buffer pools of encrypted links.

use std::sync::Arc;

use crate::primitives::buffer_pool::BufferPool;
use crate::transport::noise::{decrypt, encrypt};

/// Maximum number of free buffers in each pool. More links are rarely busy at the same moment.
const MAX_FREE: usize = 4;

/// The buffer pools of the encrypted links of an endpoint.
///
/// There are two, since buffers for writing keep their length: they are not zeroed on each use.
#[derive(Debug)]
pub(crate) struct NoiseBuffers {
    /// Empty buffers for ciphertext that is read.
    pub(crate) read: Arc<BufferPool>,
    /// Buffers for records to be written. The scratch space for plaintext is wiped before they
    /// are put back.
    pub(crate) write: Arc<BufferPool>,
}

impl Default for NoiseBuffers {
    fn default() -> NoiseBuffers {
        NoiseBuffers {
            read: BufferPool::new(MAX_FREE * decrypt::READ_SIZE),
            write: BufferPool::new(MAX_FREE * encrypt::BUFFER_SIZE),
        }
    }
}
