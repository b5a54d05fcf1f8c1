import NIOCore
import Testing

import Server

@Suite("The memory of pieces of a log")
struct FeedReadersTests {
  @Test("is used again only when nobody has it any more, and is bounded")
  func pieces() {
    let readers = FeedReaders()
    func piece(_ text: String) -> ByteBuffer {
      var piece = readers.emptyPiece()
      #expect(piece.readableBytes == 0)
      piece.writeString(text)
      return piece
    }
    let first = piece("first")
    readers.keep(first)
    let second = piece("second")
    #expect(String(buffer: first) == "first" && String(buffer: second) == "second")
    for number in 0..<10 { readers.keep(ByteBuffer(repeating: 1, count: 1_000 + number)) }
    for number in 0..<4 {
      let capacity = readers.emptyPiece().capacity
      #expect(number < 3 ? capacity >= 1_000 : capacity == 0)
    }
    readers.stop()
    readers.keep(second)
  }
}
