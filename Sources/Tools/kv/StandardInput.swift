import Foundation

enum StandardInput {
  /// No node takes a larger value: it would not fit into a frame of the log.
  private static let bytesMax = 32 << 20

  /// All of it, to its end.
  static func read() throws -> [UInt8] {
    var bytes: [UInt8] = []
    while let part = try next() {
      bytes += part
      guard bytes.count <= bytesMax else {
        throw Output.failure("standard input: more than \(bytesMax) bytes: no node takes that")
      }
    }
    return bytes
  }

  private static func next() throws -> Data? {
    do {
      let part = try FileHandle.standardInput.read(upToCount: 1 << 16)
      return part?.isEmpty == true ? nil : part
    } catch {
      throw Output.failure("standard input: cannot read: \(error.localizedDescription)")
    }
  }
}
