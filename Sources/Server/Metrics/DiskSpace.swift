#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What is left of a disk.
enum DiskSpace {
  /// Bytes that may still be written to the disk of that directory; nil when the system does not say.
  static func freeBytes(_ directory: String) -> UInt64? {
    var found = statvfs()
    guard statvfs(directory, &found) == 0 else { return nil }
    return UInt64(found.f_bavail) * UInt64(found.f_frsize)
  }
}
