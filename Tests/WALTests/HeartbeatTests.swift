import Testing
import WAL

@Suite("A heartbeat") struct HeartbeatTests {
  private static let origin: UInt64 = 0x0123_4567_89AB_CDEF

  private static func decode(_ bytes: [UInt8]) throws -> (FrameHeader, [UInt8])? {
    var stream = FrameStream()
    bytes.withUnsafeBytes { stream.feed($0) }
    guard case .segment = try stream.next(), case .heartbeat(let header) = try stream.next() else {
      return nil
    }
    return (header, stream.withRecords { $0.withUnsafeBytes { Array($0) } })
  }

  @Test("is read as it was meant, behind the position that it stands behind")
  func decoded() throws {
    let position = LogPosition(epoch: Epoch(number: 3, node: 9), sequence: 41, crc: 0xABCD_EF01)
    let segment = SegmentHeader(
      origin: Self.origin, previous: position, durableSequence: 41, isShipped: true)
    let heartbeat = Heartbeat(
      behind: position, durableSequence: 40, confirmedSequence: 39, timeMilliseconds: 1_700,
      content: Array(1...16))
    let found = try #require(
      try Self.decode(segment.encoded + heartbeat.encoded(origin: Self.origin)))
    let header = found.0
    #expect(found.1 == Array(1...16))
    #expect(header.recordCount == 0 && header.firstSequence == 42)
    #expect(header.previousCRC == position.crc && header.epoch == position.epoch)
    #expect(header.durableSequence == 40 && header.confirmedSequence == 39)
    #expect(header.timeMilliseconds == 1_700)
  }

  @Test("tells nothing that is behind its position: no reader would take it")
  func bounded() throws {
    let position = LogPosition(epoch: Epoch(number: 1, node: 9), sequence: 41, crc: 1)
    let segment = SegmentHeader(origin: Self.origin, previous: position, durableSequence: 0)
    let heartbeat = Heartbeat(
      behind: position, durableSequence: 99, confirmedSequence: 98, timeMilliseconds: 1,
      content: [])
    let found = try Self.decode(segment.encoded + heartbeat.encoded(origin: Self.origin))
    #expect(found?.0.durableSequence == 41 && found?.0.confirmedSequence == 41)
  }
}
