//! Sizes in bytes, with or without a unit.

use bytesize::ByteSize;
use std::fmt;

/// A number of bytes, which is read and written with units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of bytes; at least 1.
    pub bytes: u64,
}

/// Reads sizes of at least one byte and at most `bytes_max`: a plain number of bytes, or a number
/// with a decimal unit (`64MB`, 1000 kB each) or a binary one (`64MiB`, 1024 KiB each).
pub(super) fn size_up_to(
    bytes_max: u64,
) -> impl Fn(&str) -> Result<Size, String> + Clone + Send + Sync {
    move |text| {
        // What does not fit into 64 bits becomes the largest number, which is above the limit.
        let ByteSize(bytes) = text
            .parse()
            .map_err(|_| format!("{text:?} is no size such as 64MB, 64MiB or 67108864"))?;
        if bytes == 0 {
            Err("the size has to be at least one byte".to_owned())
        } else if bytes > bytes_max {
            let max = Size { bytes: bytes_max };
            Err(format!("the size is more than {max} ({bytes_max} bytes)"))
        } else {
            Ok(Size { bytes })
        }
    }
}

/// Writes the size with the largest unit of which it is a multiple.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (bytesize::GIB, "GiB"),
            (bytesize::GB, "GB"),
            (bytesize::MIB, "MiB"),
            (bytesize::MB, "MB"),
            (bytesize::KIB, "KiB"),
            (bytesize::KB, "kB"),
        ];
        let (unit, name) = units
            .into_iter()
            .find(|(unit, _)| self.bytes.is_multiple_of(*unit))
            .unwrap_or((1, ""));
        write!(f, "{}{name}", self.bytes / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let read = |text| size_up_to(1 << 30)(text).map(|size| (size.bytes, size.to_string()));
        for (text, bytes, shown) in [
            ("64MB", 64_000_000, "64MB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("64 mib", 64 << 20, "64MiB"),
            ("67108864", 64 << 20, "64MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1.5KiB", 1536, "1536"),
            ("10k", 10_000, "10kB"),
            ("1000B", 1000, "1kB"),
            ("1", 1, "1"),
        ] {
            assert_eq!(read(text), Ok((bytes, shown.to_owned())), "{text}");
        }
        for bad in [
            "", "x", "-1", "-1MB", "1e3", "1.5", "5 apples", "MB", "1,5MB", "0x10", "inf", "nan",
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains("is no size such as"), "{bad}: {error}");
        }
        for zero in ["0", "0MiB", "0.0001kB"] {
            assert_eq!(
                read(zero).unwrap_err(),
                "the size has to be at least one byte"
            );
        }
        for large in ["1073741825", "1.5GB", "99999999999999EB"] {
            assert_eq!(
                read(large).unwrap_err(),
                "the size is more than 1GiB (1073741824 bytes)"
            );
        }
    }
}
