import Foundation
import Testing
import WAL

/// A log in a directory of its own, to look at and to damage.
final class LogFixture: Sendable {
  static let node: UInt64 = 0xA1
  /// 2025-01-31T12:34:56.789Z; the clock of a fixture stands still.
  static let timeMilliseconds: UInt64 = 1_738_326_896_789

  let directory: TemporaryDirectory
  /// The data directory.
  let path: String

  init(_ name: String = "data", in directory: TemporaryDirectory? = nil) throws {
    let directory = try directory ?? TemporaryDirectory()
    self.directory = directory
    path = directory.path(name)
  }

  var log: String { path + "/wal" }

  // MARK: - Writing

  /// Opens the log as a node alone would, lets `body` write, and closes it in order.
  func write(
    origin: UInt64 = 0x0123_4567_89AB_CDEF, segmentBytes: UInt64 = 64 << 10, closes: Bool = true,
    _ body: (LogWriter) throws -> Void
  ) throws {
    try SystemFileSystem().makeDirectory(path)
    var options = LogOptions(dataDirectory: path, node: Self.node)
    options.origin = origin
    options.segmentBytes = segmentBytes
    options.clock.wallMilliseconds = { Self.timeMilliseconds }
    let (writer, report) = try LogRecovery.open(options)
    if report.needsNewEpoch {
      try writer.startEpoch(
        Epoch(number: writer.epoch.number + 1, node: Self.node), reason: .recovered)
    }
    try body(writer)
    if closes { try writer.close() }
  }

  /// Puts `key-1` … with values of `valueBytes`, a frame each.
  func put(
    _ count: Int, valueBytes: Int = 20, origin: UInt64 = 0x0123_4567_89AB_CDEF,
    segmentBytes: UInt64 = 4 << 10, closes: Bool = true
  ) throws {
    try write(origin: origin, segmentBytes: segmentBytes, closes: closes) { writer in
      for index in 1...count {
        let value = String(repeating: "v", count: valueBytes)
        try writer.put(bytes("key-\(index)"), bytes(value))
      }
    }
  }

  // MARK: - Looking

  struct Place {
    var file: String
    var offset: UInt64
    var header: FrameHeader
  }

  /// Where every frame is.
  func frames() throws -> [Place] {
    var reader = try LogReader(directory: log)
    var places: [Place] = []
    while case .frame(let header) = try reader.next() {
      let path = reader.path
      places.append(Place(file: try #require(path), offset: reader.frameOffset, header: header))
    }
    return places
  }

  func segments() throws -> [String] {
    try SegmentFile.list(log, in: SystemFileSystem()).map(\.path)
  }

  /// All of its segments behind each other.
  func stream() throws -> Data {
    try segments().reduce(into: Data()) {
      $0.append(try Data(contentsOf: URL(fileURLWithPath: $1)))
    }
  }

  // MARK: - Damaging

  /// Changes one byte.
  func flip(_ file: String, at offset: UInt64) throws {
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: file))
    try handle.seek(toOffset: offset)
    let byte = try #require(try handle.read(upToCount: 1)?.first)
    try handle.seek(toOffset: offset)
    try handle.write(contentsOf: Data([byte ^ 0x40]))
    try handle.close()
  }

  /// Zeros what is behind the first bytes of a frame, as if a crash had come between.
  func tear(_ place: Place, keeping count: UInt64) throws {
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: place.file))
    let lost = Int(UInt64(place.header.frameBytes) - count)
    try handle.seek(toOffset: place.offset + count)
    try handle.write(contentsOf: Data(count: lost))
    try handle.close()
  }

  func remove(_ file: String) throws {
    try FileManager.default.removeItem(atPath: file)
  }

  func dump(_ arguments: String..., input: Data? = nil) async throws -> Outcome {
    try await Executable.dump.run(arguments, input: input, in: directory)
  }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension LogWriter {
  func append(
    _ type: RecordType, metadata: RecordMetadata = RecordMetadata(), clock: [ClockEntry] = [],
    key: [UInt8] = [], value: [UInt8] = []
  ) throws {
    var frame = FrameBuilder()
    frame.append(
      type, metadata: metadata, clock: clock, key: key.span.bytes, value: value.span.bytes)
    try commit(&frame)
  }

  func put(_ key: [UInt8], _ value: [UInt8] = []) throws {
    try append(.put, key: key, value: value)
  }
}
