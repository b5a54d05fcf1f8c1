/// What is wrong with a configuration, and where.
public struct ShardMapError: Error, Hashable, Sendable {
  public enum Problem: Hashable, Sendable {
    case unreadable(String)
    case notJSON(String)
    case tooLarge(bytesMax: Int)
    case missing
    case unknownField
    case duplicateField
    case wrongType(expected: String, found: String)
    case outOfRange(String)
    case unknownHash(String)
    case unknownMode(String)
    case noShards
    case tooMany(max: Int, of: String)
    case duplicateIndex(Int)
    case missingIndex(Int)
    case badName(String)
    case duplicateName(String)
    case badAddress(String, reason: String)
    /// And the field that has it already.
    case duplicateAddress(String, elsewhere: String)
    case contradiction(String)
    case shardNotFound(String, names: [String])
    case addressNotFound(String, addresses: [String])
    case addressMissing(addresses: [String])
  }

  /// The configuration's file, as it was given.
  public var file: String
  /// `shards[1].leader`; `line 3, column 7`; empty when it is about the whole.
  public var place: String
  public var problem: Problem

  public init(file: String, place: String = "", _ problem: Problem) {
    self.file = file
    self.place = place
    self.problem = problem
  }
}

extension ShardMapError: CustomStringConvertible {
  public var description: String {
    place.isEmpty ? "\(file): \(problem)" : "\(file): \(place): \(problem)"
  }
}

extension ShardMapError.Problem: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreadable(let reason): "cannot read: \(reason)"
    case .notJSON(let problem): "not JSON: \(problem)"
    case .tooLarge(let bytes): "larger than \(bytes) bytes: this is no configuration"
    case .missing: "missing"
    case .unknownField: "unknown field"
    case .duplicateField: "is there twice"
    case .wrongType(let expected, let found): "must be \(expected), not \(found)"
    case .outOfRange(let range): "must be \(range)"
    case .unknownHash(let name):
      "unknown hash \(name.debugDescription): "
        + ShardHash.allCases.map(\.name).joined(separator: " or ")
    case .unknownMode(let name):
      "unknown mode \(name.debugDescription): leaderless, or leave it out"
    case .noShards: "no shards: there must be one at least"
    case .tooMany(let max, let things): "more than \(max) \(things)"
    case .duplicateIndex(let index): "duplicate shard index: \(index)"
    case .missingIndex(let index): "missing shard index: \(index)"
    case .badName(let reason): "bad name: \(reason)"
    case .duplicateName(let name): "duplicate shard name: \(name.debugDescription)"
    case .badAddress(let address, let reason):
      "bad address \(address.debugDescription): \(reason)"
    case .duplicateAddress(let address, let elsewhere):
      "duplicate address: \(address) is \(elsewhere), too"
    case .contradiction(let text): text
    case .shardNotFound(let name, let names):
      "Shard \(name.debugDescription) not found. There "
        + (names.count == 1 ? "is " : "are ") + Self.list(names)
    case .addressNotFound(let address, let addresses):
      "\(address) is none of its nodes, which are \(Self.list(addresses)). Choose one of them with "
        + "--http-addr, or add one more replica with --shard NAME --replica"
    case .addressMissing(let addresses):
      "which of its nodes is this one? Choose with --http-addr: \(Self.list(addresses))"
    }
  }

  /// The first of them where there are very many.
  private static func list(_ words: [String]) -> String {
    words.prefix(16).joined(separator: ", ") + (words.count > 16 ? ", …" : "")
  }
}
