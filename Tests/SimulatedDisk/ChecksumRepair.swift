import CChecksum
import WAL

/// Makes the checksums of a segment's frames right whatever the frames hold: to a reader this is a
/// format without checksums. A mutant for the crash runs, which must find it out.
public enum ChecksumRepair {
  /// The same, with the segment's own header made right first.
  public static func repairedAll(_ segment: [UInt8]) -> [UInt8] {
    guard segment.count >= Format.segmentHeaderBytes else { return segment }
    var bytes = segment
    let crc = shiplog_crc32c(0, bytes, 60)
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: crc, toByteOffset: 60, as: UInt32.self) }
    return repaired(bytes)
  }

  public static func repaired(_ segment: [UInt8]) -> [UInt8] {
    guard segment.count >= Format.segmentHeaderBytes,
      (try? SegmentHeader(parsing: segment.span.bytes)) != nil
    else { return segment }
    var bytes = segment
    bytes.withUnsafeMutableBytes { bytes in
      let seed = shiplog_crc32c(0, bytes.baseAddress! + 16, 8)
      var offset = Format.segmentHeaderBytes
      while offset + Format.frameHeaderBytes <= bytes.count,
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self) == Format.frameMagic
      {
        let length = Int(bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
        let end = offset + Format.frameHeaderBytes + length
        guard end <= bytes.count else { return }
        let records = shiplog_crc32c(
          seed, bytes.baseAddress! + offset + Format.frameHeaderBytes, length)
        bytes.storeBytes(of: records, toByteOffset: offset + 64, as: UInt32.self)
        let header = shiplog_crc32c(seed, bytes.baseAddress! + offset, 68)
        bytes.storeBytes(of: header, toByteOffset: offset + 68, as: UInt32.self)
        offset = end
      }
    }
    return bytes
  }
}
