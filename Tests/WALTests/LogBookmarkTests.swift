import SimulatedDisk
import Testing
import WAL

@Suite("A bookmark") struct LogBookmarkTests {
  @Test("leads to the frame behind it, in its segment or the next, and finds the log's end")
  func everyFrame() throws {
    let fixture = LogFixture(seed: 1, segmentBytes: 4_096)
    let writer = try fixture.open().writer
    var frame = FrameBuilder()
    for number in 0..<40 {
      let value = LogFixture.value(number, 100 + number * 17 % 700)
      frame.append(.put, key: fixture.options.directory.utf8.span.bytes, value: value.span.bytes)
      try writer.commit(&frame)
    }
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    var headers: [FrameHeader] = []
    var bookmarks: [LogBookmark] = []
    let none = reader.bookmark
    #expect(none == nil)
    while case .frame(let header) = try reader.next() {
      headers.append(header)
      if let bookmark = reader.bookmark { bookmarks.append(bookmark) }
    }
    #expect(headers.count == 41 && bookmarks.count == 41)
    #expect(Set(bookmarks.map(\.segment)).count > 3)
    for (number, bookmark) in bookmarks.enumerated() {
      var again = try LogReader(directory: "/data/wal", from: bookmark, fileSystem: fixture.disk)
      for header in headers.dropFirst(number + 1) {
        guard case .frame(let found) = try again.next() else {
          Issue.record("no frame behind \(bookmark)")
          break
        }
        #expect(found == header)
      }
      guard case .end = try again.next() else {
        Issue.record("no end behind \(bookmark)")
        continue
      }
      // What is written then is found.
      let end = again.bookmark
      #expect(end == bookmarks.last)
    }
    frame.append(.put, key: fixture.options.directory.utf8.span.bytes, value: RawSpan())
    try writer.commit(&frame)
    var last = try LogReader(
      directory: "/data/wal", from: bookmarks[40], fileSystem: fixture.disk)
    guard case .frame(let header) = try last.next() else {
      Issue.record("no frame")
      return
    }
    #expect(header.lastSequence == 42)
  }

  @Test("of another log, or of a place that is none, finds damage and no frame")
  func wrong() throws {
    let fixture = LogFixture(seed: 1, segmentBytes: 16_384)
    let writer = try fixture.open().writer
    var frame = FrameBuilder()
    for number in 0..<5 {
      frame.append(
        .put, key: fixture.options.directory.utf8.span.bytes,
        value: LogFixture.value(number, 50).span.bytes)
      try writer.commit(&frame)
    }
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    for _ in 0..<3 { _ = try reader.next() }
    let found = reader.bookmark
    let good = try #require(found)
    var others = [good, good, good]
    others[0].origin ^= 1
    others[1].offset += 8
    others[2].position.crc ^= 1
    for other in others {
      var wrong = try LogReader(directory: "/data/wal", from: other, fileSystem: fixture.disk)
      guard case .damage = try wrong.next() else {
        Issue.record("no damage at \(other)")
        continue
      }
    }
  }
}
