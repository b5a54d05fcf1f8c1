import Glibc

/// A directory of its own on the real disk, gone with its last reference.
public final class TemporaryDirectory: Sendable {
  public let path: String

  /// - Parameter parent: an existing directory.
  public init(in parent: String = "/tmp") {
    var template = Array("\(parent)/shiplog-test-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: String) {
    guard let stream = opendir(path) else { return }
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name != ".", name != ".." else { continue }
      if unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
    }
    closedir(stream)
    rmdir(path)
  }
}
