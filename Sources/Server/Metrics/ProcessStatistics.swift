#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What Linux knows about this process.
package struct ProcessStatistics: Equatable, Sendable {
  package let cpuTicks: UInt64
  /// Since the machine was started.
  package let startTicks: UInt64
  package let residentPages: UInt64

  /// Reads `/proc/PID/stat` (proc(5)); nil when it is not one.
  package init?(stat: [UInt8]) {
    // The second field is the program's name in parentheses, and may hold blanks and parentheses.
    guard let name = stat.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = stat[(name + 1)...].split(whereSeparator: { $0 == 0x20 || $0 == 0x0A })
    func field(_ number: Int) -> UInt64? {
      guard number - 3 < fields.count else { return nil }
      return fields[number - 3].withUnsafeBytes { DecimalText.parse($0) }
    }
    guard let user = field(14), let system = field(15), let start = field(22),
      let resident = field(24)
    else { return nil }
    cpuTicks = user + system
    startTicks = start
    residentPages = resident
  }

  /// Of this process, now; nil when `/proc` cannot be read.
  static func now() -> Self? {
    let descriptor = open("/proc/self/stat", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    // It is written at once, in far less than a page.
    let stat = [UInt8](unsafeUninitializedCapacity: 4096) { bytes, count in
      count = max(0, read(descriptor, bytes.baseAddress, bytes.count))
    }
    return Self(stat: stat)
  }

  /// How many files this process has open; nil when `/proc` cannot be read.
  static func openFiles() -> Int? {
    guard let directory = opendir("/proc/self/fd") else { return nil }
    defer { closedir(directory) }
    var entries = 0
    while readdir(directory) != nil { entries += 1 }
    // Without `.`, `..` and the directory itself.
    return entries - 3
  }
}
