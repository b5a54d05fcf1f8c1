import CZstd
import WAL

/// Compresses and decompresses blocks with zstd (RFC 8878), keeping its working memory between them.
/// Belongs to one thread.
final class Zstandard {
  /// The fastest level that finds repetitions over the whole block.
  private static let level: Int32 = 1
  private static let pieceBytes = 64 << 10

  private var compressor: OpaquePointer?
  private var decompressor: OpaquePointer?

  init() {}

  deinit {
    if let compressor { ZSTD_freeCCtx(compressor) }
    if let decompressor { ZSTD_freeDCtx(decompressor) }
  }

  /// The most that a block of that size can become.
  static func compressedBytesMax(_ bytes: Int) -> Int {
    // A piece may be a byte more than the bound of its own.
    ZSTD_compressBound(bytes) + (bytes / pieceBytes + 1) * 64
  }

  /// Compresses a block as one frame, in pieces that are no more than a few 100 us of work each.
  ///
  /// - Parameters:
  ///   - target: at least `compressedBytesMax(source.count)` long.
  ///   - rest: called behind each piece.
  /// - Returns: the bytes written.
  func compress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer,
    rest: () throws(WALError) -> Void
  ) throws(WALError) -> Int {
    let compressor = beginFrame(of: source.count)
    var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
    var input = ZSTD_inBuffer(src: source.baseAddress, size: 0, pos: 0)
    while true {
      input.size = min(input.pos + Self.pieceBytes, source.count)
      let isLast = input.size == source.count
      let left = ZSTD_compressStream2(
        compressor, &output, &input, isLast ? ZSTD_e_end : ZSTD_e_flush)
      precondition(left == 0, "zstd cannot compress: out of memory")
      if isLast { return output.pos }
      try rest()
    }
  }

  private func beginFrame(of bytes: Int) -> OpaquePointer? {
    if compressor == nil {
      compressor = ZSTD_createCCtx()
      ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, Self.level)
    }
    // What an interrupted one has left.
    ZSTD_CCtx_reset(compressor, ZSTD_reset_session_only)
    ZSTD_CCtx_setPledgedSrcSize(compressor, UInt64(bytes))
    return compressor
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
