import Engine
import Sharding
import WAL

/// The configuration of the cluster that a node has taken while it ran, so that its next start knows it.
///
/// In the file `config` of the data directory: a line `BYTES CHECK`, then so many bytes of JSON. The
/// check is the CRC-32C of these.
public struct ConfigurationNote: Sendable {
  private static let headBytesMax = 64

  private let directory: String
  private let fileSystem: any FileSystem
  private let note: DurableNote

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.directory = directory
    self.fileSystem = fileSystem
    note = DurableNote(directory, "config", fileSystem: fileSystem)
  }

  public var path: String { note.path }

  /// Makes it durable: it appears whole or not at all.
  public func write(_ map: ShardMap) throws(WALError) {
    let json = map.json
    let head = "\(json.count) \(hexadecimal(Self.check(json)))\n"
    try note.write(bytes: Array(head.utf8) + json)
  }

  /// Nil where there is none.
  ///
  /// - Throws: `invalidFile` for one that is not whole: which configuration counts is not known then.
  public func read() throws(WALError) -> ShardMap? {
    let most = Self.headBytesMax + ShardMap.fileBytesMax + 1
    guard try isThere(), let bytes = try note.readAll(bytes: most) else { return nil }
    let head = bytes.prefix(Self.headBytesMax).prefix { $0 != UInt8(ascii: "\n") }
    let json = Array(bytes.dropFirst(head.count + 1))
    guard String(decoding: head, as: UTF8.self) == "\(json.count) \(hexadecimal(Self.check(json)))"
    else { throw damaged(0, "its checksum does not match") }
    do throws(ShardMapError) {
      return try ShardMap(json: json, file: path)
    } catch {
      throw damaged(UInt64(head.count + 1), "\(error)")
    }
  }

  /// Whether there is a data directory that it could be in.
  private func isThere() throws(WALError) -> Bool {
    do {
      return try fileSystem.isDirectory(directory)
    } catch {
      guard error.isNotFound else { throw error }
      return false
    }
  }

  private func damaged(_ offset: UInt64, _ reason: String) -> WALError {
    .invalidFile(
      path: path, offset: offset,
      reason: "damaged: \(reason). Move it away, and start with the newest configuration: "
        + "kv config show at another node prints it")
  }

  /// Tells two configurations of the same version apart.
  static func check(_ json: [UInt8]) -> UInt32 { Checksum.unseeded(json.span.bytes) }
}
