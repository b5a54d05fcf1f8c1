import NIOCore
import Server

extension MetricsRegistry {
  /// What `/metrics` answers.
  var text: String {
    var buffer = ByteBuffer()
    render(into: &buffer)
    return String(buffer: buffer)
  }

  /// The lines of one metric, without those that begin with `#`.
  func lines(_ name: String) -> [String] {
    text.split(separator: "\n").map(String.init).filter { $0.hasPrefix(name) }
  }
}
