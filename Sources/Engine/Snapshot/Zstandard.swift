import CZstd

/// Compresses and decompresses blocks with zstd (RFC 8878), keeping its working memory between them.
/// Belongs to one thread.
final class Zstandard {
  /// The fastest level that finds repetitions over the whole block.
  private static let level: Int32 = 1

  private var compressor: OpaquePointer?
  private var decompressor: OpaquePointer?

  init() {}

  deinit {
    if let compressor { ZSTD_freeCCtx(compressor) }
    if let decompressor { ZSTD_freeDCtx(decompressor) }
  }

  /// The most that a block of that size can become.
  static func compressedBytesMax(_ bytes: Int) -> Int { ZSTD_compressBound(bytes) }

  /// - Parameter target: at least `compressedBytesMax(source.count)` long.
  /// - Returns: the bytes written.
  func compress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) -> Int {
    if compressor == nil { compressor = ZSTD_createCCtx() }
    let count = ZSTD_compressCCtx(
      compressor, target.baseAddress, target.count, source.baseAddress, source.count, Self.level)
    precondition(ZSTD_isError(count) == 0, "zstd cannot compress: out of memory")
    return count
  }

  /// - Returns: false unless the source is one compressed block that becomes exactly what `target`
  ///   has room for.
  func decompress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) -> Bool {
    if decompressor == nil { decompressor = ZSTD_createDCtx() }
    let count = ZSTD_decompressDCtx(
      decompressor, target.baseAddress, target.count, source.baseAddress, source.count)
    return ZSTD_isError(count) == 0 && count == target.count
  }
}
