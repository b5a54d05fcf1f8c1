extension ShardMap {
  /// Reads a configuration strictly: whatever is unknown, doubled, missing or contradictory is an error.
  ///
  /// - Parameters:
  ///   - json: what the file holds.
  ///   - file: its name, for errors.
  public init(json: [UInt8], file: String) throws(ShardMapError) {
    guard json.count <= Self.fileBytesMax else {
      throw ShardMapError(file: file, .tooLarge(bytesMax: Self.fileBytesMax))
    }
    let text: ConfigurationText
    do throws(ConfigurationTextReader.Failure) {
      text = try ConfigurationTextReader.read(json)
    } catch {
      throw ShardMapError(
        file: file, place: "line \(error.line), column \(error.column)", .notJSON(error.problem))
    }
    try self.init(ConfigurationField(file: file, place: "", value: text))
  }

  private init(_ whole: ConfigurationField) throws(ShardMapError) {
    let object = try whole.object([
      "version", "hash", "mode", "write_quorum", "read_quorum", "shards", "nodes",
    ])
    let mode = try Self.mode(object["mode"])
    let hash = try Self.hash(object["hash"])
    let shards = try Self.shards(object, mode)
    let nodesMin = shards.map(\.nodes.count).min() ?? 1
    self.init(
      file: whole.file,
      version: try object["version"]?.integer(1...Int.max) ?? 1, mode: mode, hash: hash,
      writeQuorum: try object["write_quorum"]?.integer(1...nodesMin) ?? 1,
      readQuorum: try object["read_quorum"]?.integer(1...nodesMin) ?? 1,
      shards: shards)
  }

  private static func mode(_ field: ConfigurationField?) throws(ShardMapError) -> Mode {
    guard let field else { return .leader }
    let name = try field.text()
    guard name == "leaderless" else { throw field.error(.unknownMode(name)) }
    return .leaderless
  }

  private static func hash(_ field: ConfigurationField?) throws(ShardMapError) -> ShardHash {
    guard let field else { return .fnv1 }
    let name = try field.text()
    guard let hash = ShardHash(name: name) else { throw field.error(.unknownHash(name)) }
    return hash
  }

  // MARK: - Shards

  private static func shards(
    _ object: ConfigurationObject, _ mode: Mode
  ) throws(ShardMapError) -> [Shard] {
    var addresses = Addresses()
    if let nodes = object["nodes"] {
      guard mode == .leaderless else {
        throw nodes.error(.contradiction("only where \"mode\" is \"leaderless\""))
      }
      if let shards = object["shards"] {
        throw shards.error(.contradiction("either \"shards\" or \"nodes\", not both"))
      }
      return [
        Shard(
          name: "default", index: 0, nodes: try addresses.takeList(nodes, isOptional: false),
          mode: mode)
      ]
    }
    let list = try object.required("shards")
    var shards: [Shard] = []
    var (names, indexes): (Set<String>, Set<Int>) = ([], [])
    for field in try list.list(max: shardsMax, of: "shards") {
      let (shard, members) = try shard(field, mode, &addresses)
      guard indexes.insert(shard.index).inserted else {
        throw try members.required("index").error(.duplicateIndex(shard.index))
      }
      guard names.insert(shard.name).inserted else {
        throw try members.required("name").error(.duplicateName(shard.name))
      }
      shards.append(shard)
    }
    guard !shards.isEmpty else { throw list.error(.noShards) }
    for index in shards.indices where !indexes.contains(index) {
      throw list.error(.missingIndex(index))
    }
    return shards.sorted { $0.index < $1.index }
  }

  private static func shard(
    _ field: ConfigurationField, _ mode: Mode, _ addresses: inout Addresses
  ) throws(ShardMapError) -> (Shard, ConfigurationObject) {
    let isLed = mode == .leader
    let members = try field.object(["name", "index", "leader", "replicas", "nodes"])
    for name in isLed ? ["nodes"] : ["leader", "replicas"] {
      guard let field = members[name] else { continue }
      throw field.error(
        .contradiction(
          isLed
            ? "only where \"mode\" is \"leaderless\""
            : "a leaderless shard has \"nodes\" in place of \"leader\" and \"replicas\""))
    }
    let name = try Self.name(try members.required("name"))
    let index = try members.required("index").integer(0...shardsMax - 1)
    var nodes: [String] = []
    if isLed {
      nodes.append(try addresses.take(try members.required("leader")))
      if let replicas = members["replicas"] {
        nodes += try addresses.takeList(replicas, isOptional: true)
      }
    } else {
      nodes = try addresses.takeList(try members.required("nodes"), isOptional: false)
    }
    return (Shard(name: name, index: index, nodes: nodes, mode: mode), members)
  }

  /// A shard's name is part of the names of directories.
  private static func name(_ field: ConfigurationField) throws(ShardMapError) -> String {
    let name = try field.text()
    guard !name.isEmpty, name.utf8.count <= 64 else {
      throw field.error(.badName("from 1 to 64 bytes long"))
    }
    let isPlain = name.unicodeScalars.allSatisfy { scalar in
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: false
      default: scalar != "/" && scalar != "\\"
      }
    }
    guard isPlain, !name.hasPrefix("."), !name.hasPrefix("-"), !name.hasPrefix(" "),
      !name.hasSuffix(" ")
    else {
      throw field.error(
        .badName(
          "it may not begin with a dot, a hyphen or a blank, nor hold a slash or what is not seen"))
    }
    return name
  }
}

/// The addresses that were read so far.
private struct Addresses {
  private var places: [String: String] = [:]

  mutating func take(_ field: ConfigurationField) throws(ShardMapError) -> String {
    let text = try field.text()
    let address: String
    do throws(ShardAddress.Refusal) {
      address = try ShardAddress(text).description
    } catch {
      throw field.error(.badAddress(text, reason: error.reason))
    }
    if let elsewhere = places.updateValue(field.place, forKey: address) {
      throw field.error(.duplicateAddress(address, elsewhere: elsewhere))
    }
    return address
  }

  mutating func takeList(
    _ field: ConfigurationField, isOptional: Bool
  ) throws(ShardMapError) -> [String] {
    // A leader is one of them.
    let max = ShardMap.nodesPerShardMax - (isOptional ? 1 : 0)
    var addresses: [String] = []
    for element in try field.list(max: max, of: "nodes") { addresses.append(try take(element)) }
    guard isOptional || !addresses.isEmpty else {
      throw field.error(.outOfRange("one address at least"))
    }
    return addresses
  }
}
