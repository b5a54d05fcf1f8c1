import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("The format of snapshots")
struct SnapshotFormatTests {
  private let fixture = SnapshotFixture()

  private func parse(_ bytes: [UInt8]) throws(SnapshotViolation) -> SnapshotHeader {
    try SnapshotHeader(parsing: bytes.span.bytes)
  }

  /// The header with a number in it changed and the checksum made right again.
  private func changed<T: FixedWidthInteger & BitwiseCopyable>(
    _ header: SnapshotHeader, at offset: Int, _ number: T
  ) -> [UInt8] {
    var bytes = header.encoded
    bytes.withUnsafeMutableBytes { $0.store(number, at: offset) }
    let crc = Checksum.unseeded(bytes.span.bytes.extracting(0..<bytes.count - 4))
    bytes.withUnsafeMutableBytes { $0.store(crc, at: $0.count - 4) }
    return bytes
  }

  @Test("has a header that says what it was made with")
  func header() throws {
    var header = fixture.header()
    #expect(try parse(header.encoded) == header)
    #expect(header.encoded.count == 56 + 40 + 2 * 24 + 8 && header.bytes == header.encoded.count)
    header.epochs = []
    header.hash = .fnv1Mixed
    header.shardIndex = 2
    header.shardCount = 3
    header.positions.append(
      LogBase(
        origin: 8, position: LogPosition(epoch: Epoch(number: 1, node: 3), sequence: 4, crc: 5)))
    #expect(try parse(header.encoded + [1, 2, 3]) == header)
  }

  @Test("is not there when any bit of the header is another, or it is cut")
  func headerDamage() {
    let bytes = fixture.header().encoded
    for bit in 0..<bytes.count * 8 {
      var damaged = bytes
      damaged[bit / 8] ^= 1 << (bit % 8)
      // What a later version wrote is not damage; a bit that turned is.
      let violation = #expect(throws: SnapshotViolation.self) { try parse(damaged) }
      switch violation {
      case .version, .flags, .hash: Issue.record("bit \(bit) of byte \(bit / 8): \(violation!)")
      default: break
      }
    }
    for count in 0..<bytes.count {
      #expect(throws: SnapshotViolation.self) { try parse(Array(bytes[..<count])) }
    }
  }

  @Test("refuses numbers that make no sense, though their checksum is right")
  func headerNumbers() {
    let header = fixture.header()
    let wrong: [(offset: Int, number: UInt64, bytes: Int)] = [
      // Shard 1 of 1; of 0.
      (36, 1, 4), (40, 0, 4),
      // No position, too many positions and epochs.
      (44, 0, 4), (44, 2, 4), (44, 1_025, 4), (48, 1, 4), (48, 1 << 21, 4), (12, 64, 4),
      // The position's epoch and sequence number.
      (56 + 8, 1 << 62, 8), (56 + 24, 0, 8), (56 + 24, 1 << 62, 8),
      // The second epoch is not higher, does not begin later, is too high.
      (96 + 24, 0, 8), (96 + 40, 1, 8), (96 + 24, 1 << 62, 8),
    ]
    for (offset, number, bytes) in wrong {
      let changed =
        bytes == 4
        ? changed(header, at: offset, UInt32(number)) : changed(header, at: offset, number)
      #expect(throws: SnapshotViolation.headerNumbers, "\(number) at \(offset)") {
        try parse(changed)
      }
    }
    #expect(throws: SnapshotViolation.magic) { try parse(changed(header, at: 0, UInt8(0))) }
  }

  @Test("tells what a later version wrote by a right checksum")
  func laterVersion() {
    let header = fixture.header()
    #expect(throws: SnapshotViolation.version(2)) { try parse(changed(header, at: 8, UInt16(2))) }
    #expect(throws: SnapshotViolation.flags) { try parse(changed(header, at: 10, UInt16(2))) }
    #expect(throws: SnapshotViolation.flags) { try parse(changed(header, at: 10, UInt16(3))) }
    #expect(throws: SnapshotViolation.hash(3)) { try parse(changed(header, at: 32, UInt32(3))) }
    // And does so of a file, without calling it damaged.
    fixture.disk.put("/data/snapshots/a.snap", changed(header, at: 8, UInt16(2)))
    let error = #expect(throws: WALError.self) { try fixture.open() }
    guard case .setting = error else {
      Issue.record("\(error!)")
      return
    }
  }

  @Test("is found out when any byte of the file is another, by whoever reads all of it")
  func everyByte() throws {
    var random = SeededRandom(seed: 1)
    try fixture.write(SnapshotFixture.someEntries(30, &random))
    let bytes = fixture.disk.contents("/data/snapshots/a.snap")!
    var accepted: [Int] = []
    for offset in bytes.indices {
      var damaged = bytes
      damaged[offset] ^= 1 << (offset % 8)
      fixture.disk.put("/data/snapshots/b.snap", damaged)
      do {
        _ = try fixture.load(try fixture.open("/data/snapshots/b.snap"))
        accepted.append(offset)
      } catch {
        guard case WALError.invalidFile(let path, _, _) = error else { throw error }
        #expect(path == "/data/snapshots/b.snap")
      }
    }
    #expect(accepted == [])
  }

  @Test("is found out when the file was cut, or is longer")
  func everyLength() throws {
    var random = SeededRandom(seed: 2)
    try fixture.write(SnapshotFixture.someEntries(5, &random))
    let bytes = fixture.disk.contents("/data/snapshots/a.snap")!
    for count in Array(0..<bytes.count) + [bytes.count + 1, bytes.count + 32] {
      let other = Array((bytes + [UInt8](repeating: 0, count: 32)).prefix(count))
      fixture.disk.put("/data/snapshots/b.snap", other)
      let error = #expect(throws: WALError.self) { try fixture.open("/data/snapshots/b.snap") }
      guard case .invalidFile = error else {
        Issue.record("\(count) bytes: \(error!)")
        return
      }
    }
  }

  @Test("has a trailer that may say anything, and is refused for that")
  func trailer() throws {
    try fixture.write([:])
    let bytes = fixture.disk.contents("/data/snapshots/a.snap")!
    let size = UInt64(bytes.count)
    // Among them places right before the end, from where nothing is left for a trailer.
    for offset in [0, 1, size - 33, size - 32, size - 31, size - 1, size, size + 1, .max] {
      for count: UInt64 in [0, 1, 2_088, 2_089, size, .max - 31, .max] {
        var changed = bytes
        changed.withUnsafeMutableBytes {
          $0.store(offset, at: $0.count - 32)
          $0.store(count, at: $0.count - 24)
        }
        guard changed != bytes else { continue }
        fixture.disk.put("/data/snapshots/b.snap", changed)
        #expect(throws: WALError.self) { try fixture.open("/data/snapshots/b.snap") }
      }
    }
  }
}
