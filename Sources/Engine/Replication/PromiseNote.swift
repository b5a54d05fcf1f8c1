import WAL

/// The epoch below which this node follows nobody, and leads nothing: given to a node that is to lead.
///
/// In the file `promise` of the data directory: a line, as epochs are written.
public struct PromiseNote: Sendable {
  private let note: DurableNote

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    note = DurableNote(directory, "promise", fileSystem: fileSystem)
  }

  /// Makes the promise durable.
  public func write(_ epoch: Epoch) throws(WALError) { try note.write("\(epoch)") }

  /// Nil where none was given.
  ///
  /// - Throws: `setting` when the file is not what `write` has written: without it nobody knows what
  ///   was promised.
  public func read() throws(WALError) -> Epoch? {
    guard let bytes = try note.read(bytes: 256) else { return nil }
    guard let epoch = Epoch(String(decoding: bytes, as: UTF8.self)) else {
      throw .setting(
        "\(note.path): it does not hold an epoch, as 2-00000000000a11ce: what this node has promised is not known"
      )
    }
    return epoch
  }
}
