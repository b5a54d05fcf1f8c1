import Foundation
import Synchronization

/// A directory that is gone with its last reference.
final class TemporaryDirectory: Sendable {
  let url: URL
  private let files = Atomic<Int>(0)

  init() throws {
    url = FileManager.default.temporaryDirectory
      .appendingPathComponent("shiplog-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
  }

  deinit {
    do {
      try FileManager.default.removeItem(at: url)
    } catch {
      print("\(url.path) is left behind: \(error)")
    }
  }

  func path(_ name: String) -> String { url.appendingPathComponent(name).path }

  /// A file that nobody has used.
  func freshFile(_ name: String) -> URL {
    let number = files.add(1, ordering: .relaxed).newValue
    return url.appendingPathComponent("\(name)-\(number)")
  }
}
