import WAL

extension Epoch {
  /// `NUMBER-NODE`, the node in 16 hex digits: as it stands in parameters and fields.
  package var text: String { "\(number)-\(String(hexadecimal(node)))" }

  /// What `text` writes, and nothing else.
  package init?(_ text: Substring) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let number = UInt64(parts[0]), let node = UInt64(parts[1], radix: 16)
    else { return nil }
    self.init(number: number, node: node)
    guard self.text == text else { return nil }
  }
}
