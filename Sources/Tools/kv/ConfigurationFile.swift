import Sharding

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// `sharding.json` on this machine.
enum ConfigurationFile {
  /// Reads and checks it; an error is said, and ends the command.
  static func read(_ path: String) throws -> ShardMap {
    try refused { () throws(ShardMapError) in
      try ShardMap(json: try bytes(path), file: path)
    }
  }

  /// Runs `body`; an error is said, and ends the command.
  static func refused<R>(_ body: () throws(ShardMapError) -> R) throws -> R {
    do throws(ShardMapError) {
      return try body()
    } catch {
      throw Output.failure("\(error)")
    }
  }

  /// All of it, or a byte more than it may hold. It need not be a file: a pipe will do.
  private static func bytes(_ path: String) throws(ShardMapError) -> [UInt8] {
    let stream = fopen(path, "rb")
    guard let stream else { throw unreadable(path) }
    defer { fclose(stream) }
    let bytes = [UInt8](unsafeUninitializedCapacity: ShardMap.fileBytesMax + 1) { room, count in
      count = fread(room.baseAddress, 1, room.count, stream)
    }
    guard ferror(stream) == 0 else { throw unreadable(path) }
    return bytes
  }

  private static func unreadable(_ path: String) -> ShardMapError {
    ShardMapError(file: path, .unreadable(String(cString: strerror(errno))))
  }
}
