import Foundation
import Testing

/// A file system of a few pages, in memory, which is gone with its last reference.
///
/// It is mounted where only one sleeping process sees it, so nothing has to be unmounted; others
/// reach it through that process.
final class SmallDisk: Sendable {
  private let holder: RunningProcess
  /// Its root, for everybody.
  let path: String

  private init(_ holder: RunningProcess, path: String) {
    self.holder = holder
    self.path = path
  }

  /// - Parameter options: those of mount, as `size=256k`.
  static func mount(_ options: String, in directory: TemporaryDirectory) async throws -> SmallDisk {
    let point = directory.freshFile("disk").path
    try FileManager.default.createDirectory(atPath: point, withIntermediateDirectories: false)
    // Whoever is not root is so in a namespace of its own.
    let flags = getuid() == 0 ? "-m" : "-rm"
    let holder = try RunningProcess(
      .installed("unshare"),
      [
        flags, "sh", "-c",
        "mount -t tmpfs -o \(options) shiplog '\(point)' && echo ready >&2 && "
          + "exec sleep 120",
      ], in: directory)
    do {
      _ = try await holder.errors { $0.contains("ready") }
    } catch let timeout as RunningProcess.Timeout {
      Issue.record(
        """
        cannot mount a file system for this test: \(timeout.errors) It needs to be root, or user \
        namespaces (of Docker: --cap-add SYS_ADMIN)
        """)
      throw timeout
    }
    return SmallDisk(holder, path: "/proc/\(holder.id)/root\(point)")
  }
}
