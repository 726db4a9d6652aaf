//! Files that hold one secret.

use std::fmt::{self, Write as _};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::config::keys::secret::{SecretBytes, read_secret};
use crate::proto::ParseKeyError;

/// Maximum length of a file: the digits, and some lines of comment.
const MAX_LEN: u64 = 4096;

/// What a file that this crate wrote begins with. What the secret is for follows.
const HEADER: &str = "# netmod-inet: ";

/// Permission bits of group and others.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Reads the secret from a file: the only line that is neither blank nor starts with `#`. `what` is
/// what it must be for, if the file names a purpose.
pub(crate) fn load(path: &Path, what: &str) -> Result<SecretBytes, KeyError> {
    let failed = |error| KeyError::io(path, error);
    let fault = |fault| KeyError { path: path.to_owned(), fault };
    // Checked before opening: opening a FIFO blocks until there is a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(fault(KeyFault::NotAFile));
    }
    let file = File::open(path).map_err(failed)?;
    is_private(&file.metadata().map_err(failed)?).map_err(fault)?;
    // Maximum capacity from the start, so that the string never reallocates and leaves copies
    // behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 1));
    file.take(MAX_LEN + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_LEN {
        return Err(fault(KeyFault::TooLong));
    }
    let purpose = text.lines().find_map(|line| line.trim().strip_prefix(HEADER));
    if purpose.is_some_and(|purpose| !purpose.starts_with(what)) {
        return Err(fault(KeyFault::OtherPurpose));
    }
    let mut lines = text.lines().map(str::trim);
    let mut line = || lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    match (line(), line()) {
        (Some(digits), None) => match read_secret(digits) {
            Ok(secret) if secret.iter().all(|byte| *byte == 0) => Err(fault(KeyFault::Zero)),
            Ok(secret) => Ok(secret),
            Err(error) => Err(fault(KeyFault::Digits(error))),
        },
        (None, _) => Err(fault(KeyFault::Empty)),
        (Some(_), Some(_)) => Err(fault(KeyFault::TooLong)),
    }
}

/// Checks that only this user, or root, can read or change the file.
fn is_private(metadata: &Metadata) -> Result<(), KeyFault> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    match () {
        () if owner != 0 && owner != geteuid().as_raw() => Err(KeyFault::Owner(owner)),
        () if mode & GROUP_AND_OTHERS != 0 => Err(KeyFault::Permissions(mode)),
        () => Ok(()),
    }
}

/// Writes a secret to a new file.
pub(crate) fn create(
    path: &Path,
    secret: &SecretBytes,
    what: &str,
    note: &str,
) -> Result<(), KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize));
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{HEADER}{what}. Keep this file to yourself.\n# {note}\n");
    secret.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
    text.push('\n');
    write_new(path, text.as_bytes()).map_err(|error| KeyError::io(path, error))
}

/// Creates a file atomically: it exists with its whole content or not at all, even after a crash,
/// and an existing file is never replaced.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    // In the same folder, since hard links do not cross file systems. The name is unrelated to that
    // of the file, which may already have the maximum length.
    let name = format!(".netmod-inet.{:016x}", fastrand::u64(..));
    let temporary = write_private(&folder.join(name), bytes)?;
    match fs::hard_link(&temporary.0, path) {
        // Fallback for file systems without hard links.
        Err(error) if has_no_links(&error) => write_private(path, bytes)?.keep(),
        linked => linked?,
    }
    // Syncs the directory entry too. Not every system supports this for a folder.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

/// Creates a file that only its owner may read, and syncs it. It is removed again unless it is
/// kept.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<Unfinished> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let unfinished = Unfinished(path.to_owned());
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(unfinished)
}

/// A file that is removed on drop: a partial key is useless and would block the next attempt.
struct Unfinished(PathBuf);

impl Unfinished {
    fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0 != Path::new("") {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Why a secret could not be read from or written to a file. Displayed with the path.
///
/// ```
/// use netmod_inet::KeyPair;
///
/// let error = KeyPair::load("/nowhere/node.key").unwrap_err();
/// assert!(error.to_string().starts_with("/nowhere/node.key: "));
/// ```
#[derive(Debug, Clone)]
pub struct KeyError {
    path: PathBuf,
    fault: KeyFault,
}

/// The fault of a file that should hold a secret.
///
/// ```
/// use netmod_inet::{KeyFault, KeyPair};
///
/// match KeyPair::load("/nowhere/node.key").unwrap_err().fault() {
///     KeyFault::Io(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
///     fault => panic!("{fault}"),
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeyFault {
    /// An I/O error.
    Io(Arc<io::Error>),
    /// The path is a folder, a FIFO or another non-regular file.
    NotAFile,
    /// Users other than the owner may read or write it. Holds the mode, which should be `600`.
    Permissions(u32),
    /// It belongs to another user, with this user id.
    Owner(u32),
    /// It holds only comments and blank lines.
    Empty,
    /// It holds more than one secret, or is too long.
    TooLong,
    /// Its content is not a valid key.
    Digits(ParseKeyError),
    /// All of its digits are zero: a placeholder that anybody can guess.
    Zero,
    /// By its first line it is the key of a node where the secret of a network is needed, or the
    /// reverse.
    OtherPurpose,
}

impl KeyError {
    pub(crate) fn io(path: &Path, error: io::Error) -> KeyError {
        KeyError { path: path.to_owned(), fault: KeyFault::Io(Arc::new(error)) }
    }

    /// Returns the path of the file.
    ///
    /// ```
    /// # use netmod_inet::KeyPair;
    /// let error = KeyPair::load("/nowhere/node.key").unwrap_err();
    /// assert_eq!(error.path().to_str(), Some("/nowhere/node.key"));
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the fault of the file.
    ///
    /// ```
    /// # use netmod_inet::{KeyFault, KeyPair};
    /// let error = KeyPair::load("/").unwrap_err();
    /// assert!(matches!(error.fault(), KeyFault::NotAFile));
    /// ```
    pub fn fault(&self) -> &KeyFault {
        &self.fault
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.fault)
    }
}

impl std::error::Error for KeyError {}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFault::Io(error) => error.fmt(f),
            KeyFault::NotAFile => f.write_str("it is not a regular file"),
            KeyFault::Permissions(mode) => {
                write!(f, "other users can read or change it (mode {mode:03o}): run chmod 600")
            }
            KeyFault::Owner(owner) => write!(f, "it belongs to another user ({owner})"),
            KeyFault::Empty => f.write_str("it holds no key"),
            KeyFault::TooLong => f.write_str("it holds more than one key"),
            KeyFault::Digits(error) => error.fmt(f),
            KeyFault::Zero => f.write_str("it holds zeros: generate a key"),
            KeyFault::OtherPurpose => f.write_str(
                "it is the key of a node in place of the secret of a network, or the reverse",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyPair, NetworkSecret};
    use std::os::unix::fs::PermissionsExt;

    /// A folder of this test, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("netmod-inet-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_is_written_for_its_owner_only_and_can_be_read_again() {
        let folder = Folder::new("keys");
        let path = folder.0.join("node.key");
        let keys = KeyPair::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(KeyPair::load(&path).unwrap().public(), keys.public());
        let before = fs::read(&path).unwrap();
        assert!(matches!(KeyPair::create(&path).unwrap_err().fault(), KeyFault::Io(_)));
        assert_eq!(fs::read(&path).unwrap(), before, "it was overwritten");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "something else was left behind");
        // Not even a dangling link.
        let nowhere = folder.0.join("link.key");
        std::os::unix::fs::symlink("nobody", &nowhere).unwrap();
        assert!(KeyPair::create(&nowhere).is_err());
        let missing = KeyPair::create(folder.0.join("none/node.key")).unwrap_err();
        assert!(missing.to_string().contains("none/node.key: "), "{missing}");
    }

    #[test]
    fn a_file_name_may_have_the_maximum_length() {
        let folder = Folder::new("longest");
        let path = folder.0.join("k".repeat(255));
        KeyPair::create(&path).unwrap();
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "something else was left behind");
    }

    #[test]
    fn zeros_and_secrets_for_another_purpose_are_refused() {
        let folder = Folder::new("purpose");
        let [key, secret, zeros] = ["key", "secret", "zeros"].map(|name| folder.0.join(name));
        KeyPair::create(&key).unwrap();
        NetworkSecret::create(&secret).unwrap();
        assert!(KeyPair::load(&key).is_ok() && NetworkSecret::load(&secret).is_ok());
        let other = [KeyPair::load(&secret).unwrap_err(), NetworkSecret::load(&key).unwrap_err()];
        assert!(other.iter().all(|error| matches!(error.fault(), KeyFault::OtherPurpose)));
        write_new(&zeros, "0".repeat(64).as_bytes()).unwrap();
        let zero = [KeyPair::load(&zeros).unwrap_err(), NetworkSecret::load(&zeros).unwrap_err()];
        assert!(zero.iter().all(|error| matches!(error.fault(), KeyFault::Zero)));
    }

    #[test]
    fn errors_name_the_fault_and_never_quote_the_file() {
        let folder = Folder::new("faults");
        let path = folder.0.join("node.key");
        let digits = "a7".repeat(32);
        for (text, mode, expected) in [
            (digits.clone(), 0o640, "other users can read or change it (mode 640): run chmod 600"),
            (digits.clone(), 0o602, "other users can read or change it (mode 602): run chmod 600"),
            ("# nothing\n\n".into(), 0o600, "it holds no key"),
            (format!("{digits}\n{digits}\n"), 0o600, "it holds more than one key"),
            ("#".repeat(5000), 0o600, "it holds more than one key"),
            (digits[1..].to_owned(), 0o600, "a key has 64 hexadecimal digits, not 63"),
            (digits.replacen('a', "x", 1), 0o600, "character 1 of the key is no hexadecimal digit"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = KeyPair::load(&path).unwrap_err();
            assert_eq!(error.to_string(), format!("{}: {expected}", path.display()));
            assert!(!format!("{error:?}").contains("a7a7"));
        }
        assert!(matches!(KeyPair::load(&folder.0).unwrap_err().fault(), KeyFault::NotAFile));
        let missing = KeyPair::load(folder.0.join("none")).unwrap_err();
        assert!(missing.to_string().contains("none: "), "{missing}");
    }
}
