/// Walks over the parameters of a query string or a form without decoding or copying them.
///
/// Parts are split at `&`, a part at its first `=`; empty parts are passed over. The ranges are
/// offsets into the bytes, which must outlive the walk; names and values are still percent-encoded.
package struct QueryParameters: Sequence, IteratorProtocol {
  package struct Parameter: Equatable, Sendable {
    package let name: Range<Int>
    /// Empty, at the end of the part, when there is no `=`.
    package let value: Range<Int>
    package let hasEquals: Bool
  }

  private let bytes: UnsafeRawBufferPointer
  private var position = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package mutating func next() -> Parameter? {
    while position < bytes.count {
      let start = position
      let end = bytes.firstIndex(from: start) { $0.marks(equalTo: 0x26) }
      position = end + 1
      guard end > start else { continue }
      let part = bytes.slice(start..<end)
      let equals = start + part.firstIndex(from: 0) { $0.marks(equalTo: 0x3D) }
      return Parameter(
        name: start..<equals, value: Swift.min(equals + 1, end)..<end, hasEquals: equals < end)
    }
    return nil
  }
}
