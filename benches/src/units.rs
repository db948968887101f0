//! Numbers as text, with as many digits as one can trust.

/// Formats a time in the unit that leaves one to three digits before the point.
pub fn time(nanos: f64) -> String {
    match nanos {
        _ if nanos < 1e3 => format!("{} ns", plain(nanos)),
        _ if nanos < 1e6 => format!("{} µs", plain(nanos / 1e3)),
        _ if nanos < 1e9 => format!("{} ms", plain(nanos / 1e6)),
        _ => format!("{} s", plain(nanos / 1e9)),
    }
}

/// Formats three digits, or all digits before the point.
pub fn plain(figure: f64) -> String {
    match figure.abs() {
        size if size >= 99.95 => format!("{figure:.0}"),
        size if size >= 9.995 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Formats bytes as a size: "8 B", "4 KiB", "16 MiB".
pub fn bytes(bytes: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match bytes {
        _ if bytes >= MIB && bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ if bytes >= KIB && bytes.is_multiple_of(KIB) => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, plain, time};

    #[test]
    fn three_digits_whatever_the_size() {
        assert_eq!(time(91.23), "91.2 ns");
        assert_eq!(time(1_234.0), "1.23 µs");
        assert_eq!(time(47_382.4), "47.4 µs");
        assert_eq!(time(2_500_000.0), "2.50 ms");
        assert_eq!(plain(9.999), "10.0");
        assert_eq!(plain(1234.5), "1234");
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(16 << 20), "16 MiB");
        assert_eq!(bytes(1500), "1500 B");
    }
}
