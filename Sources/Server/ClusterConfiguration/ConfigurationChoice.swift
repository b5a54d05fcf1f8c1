import Sharding

/// Which configuration a node starts with: of its file and of what it has taken over HTTP since, the
/// one with the higher version.
public struct ConfigurationChoice: Sendable {
  /// Both have the same version, and say different things.
  public struct Contradiction: Error, CustomStringConvertible {
    let file: ShardMap
    let stored: ShardMap

    public var description: String {
      "\(file.file) and \(stored.file) are both version \(file.version), and differ: raise the version in "
        + "\(file.file) if that is the one that is meant, or start without --config-file to go on with the "
        + "other one"
    }
  }

  public let map: ShardMap
  /// What is to be said about it; nil where there was no choice.
  public let remark: String?
  /// What is stored is older: this one takes its place.
  public let isToBeStored: Bool

  /// - Returns: nil where there is neither.
  public init?(file: ShardMap?, stored: ShardMap?) throws(Contradiction) {
    switch (file, stored) {
    case (nil, nil): return nil
    case (let file?, nil): (map, remark, isToBeStored) = (file, nil, false)
    case (nil, let stored?):
      (map, isToBeStored) = (stored, false)
      remark = "configuration: version \(stored.version), of \(stored.file)"
    case (let file?, let stored?):
      let isNewer = file.version > stored.version
      if file.version == stored.version, !file.isSame(as: stored) {
        throw Contradiction(file: file, stored: stored)
      }
      map = file.version < stored.version ? stored : file
      isToBeStored = isNewer
      remark =
        "configuration: version \(map.version), of \(map.file)"
        + (file.version == stored.version
          ? ""
          : "; \(isNewer ? "\(stored.file)" : "\(file.file)") is older, version "
            + "\(min(file.version, stored.version))")
    }
  }
}
