import Engine
import Sharding
import SimulatedDisk
import WAL

/// Makes checksums right, so that what is behind them is tested.
enum SnapshotRepair {
  private static func store(_ number: UInt32, in bytes: inout [UInt8], at offset: Int) {
    bytes.withUnsafeMutableBytes { $0.store(number, at: offset) }
  }

  /// Those of a snapshot's header and footer, where their lengths make sense.
  static func repaired(_ snapshot: [UInt8]) -> [UInt8] {
    var bytes = snapshot
    guard bytes.count >= 64 + 32 else { return bytes }
    let headerBytes = Int(bytes.span.bytes.number(at: 12, as: UInt32.self))
    guard headerBytes >= 64, headerBytes <= bytes.count - 32 else { return bytes }
    let header = Checksum.unseeded(bytes.span.bytes.extracting(0..<headerBytes - 4))
    store(header, in: &bytes, at: headerBytes - 4)
    let trailer = bytes.count - 32
    let offset = bytes.span.bytes.number(at: trailer, as: UInt64.self)
    guard offset <= UInt64(trailer) else { return bytes }
    store(header, in: &bytes, at: trailer + 16)
    let checksum = Checksum(origin: bytes.span.bytes.number(at: 56, as: UInt64.self))
    let footer = checksum(bytes.span.bytes.extracting(Int(offset)..<trailer + 20))
    store(footer, in: &bytes, at: trailer + 20)
    return bytes
  }

  /// That of a sidecar's footer, and those of its pieces.
  static func repairedSidecar(_ sidecar: [UInt8]) -> [UInt8] {
    var bytes = sidecar
    guard bytes.count >= 16 else { return bytes }
    let trailer = bytes.count - 16
    let footerBytes = Int(bytes.span.bytes.number(at: trailer, as: UInt32.self))
    guard footerBytes <= trailer else { return bytes }
    let footer = trailer - footerBytes
    store(
      Checksum.unseeded(bytes.span.bytes.extracting(footer..<trailer)), in: &bytes, at: trailer + 4)
    guard footer >= 8 else { return bytes }
    // One run of one piece: that is what so small an input has.
    store(
      Checksum.unseeded(bytes.span.bytes.extracting(0..<footer - 8)), in: &bytes, at: footer - 8)
    return bytes
  }

  /// A snapshot with one block that holds these bytes for entries.
  static func snapshot(ofBlock block: [UInt8]) -> [UInt8] {
    let disk = SimulatedDisk(seed: 1, directories: ["/data"])
    let position = LogPosition(epoch: Epoch(number: 1, node: 7), sequence: 9, crc: 1)
    let header = SnapshotHeader(
      timeMilliseconds: 1, frameTimeMilliseconds: 1, hash: .fnv1, shardIndex: 0, shardCount: 1,
      positions: [LogBase(origin: 1, position: position)], epochs: [])
    guard block.count > 8 else { return header.encoded }
    do {
      let writer = try SnapshotWriter(header, path: "/data/a", fileSystem: disk, pace: Pace())
      // The writer takes a record as it is; it may be several, or none.
      let order = block.span.bytes.number(at: 0, as: UInt64.self)
      let record = UnsafeMutableRawBufferPointer.allocate(
        byteCount: block.count - 8, alignment: 8)
      defer { record.deallocate() }
      record.copyBytes(from: block[8...])
      try writer.append(
        KeyOrder(order), version: 1, UnsafeRawBufferPointer(record), dataBytes: 0)
      _ = try writer.finish()
    } catch { preconditionFailure("\(error)") }
    return disk.contents("/data/a")!
  }
}
