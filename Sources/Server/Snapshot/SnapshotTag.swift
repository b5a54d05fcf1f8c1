import Engine
import WAL

extension SnapshotInfo {
  /// The entity tag of the file, with its quotes: equal tags are equal bytes.
  var tag: String { "\"\(sequence)-\(bytes)-\(hexadecimal(crc))-\(hexadecimal(digest.sum))\"" }
}
