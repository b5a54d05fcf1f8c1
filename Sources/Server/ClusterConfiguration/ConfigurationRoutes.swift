import NIOCore
import Sharding
import WAL

/// `GET` and `PUT /admin/config`: the configuration of the cluster, and another one in its place.
extension LoopState {
  func clusterConfiguration(
    _ request: StandardRequest, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    lane.isFor(.config)
    guard let current = node.configurationVersion else {
      writeError("this node is alone: it has no configuration. Start it with --config-file")
      return .now(Answer(.notFound, .json))
    }
    return request.method == .PUT
      ? push(request.body, query, lane) : tell(current, query)
  }

  private func tell(_ current: ConfigurationVersion, _ query: Parameters) -> Handling {
    let fields = [
      (name: ConfigurationPoll.versionField, value: "\(current.number)"),
      (name: ConfigurationPoll.checkField, value: hexadecimal(current.check)),
    ]
    if let text = query.first("above") {
      guard let above = text.withUnsafeBytes({ DecimalText.parse($0) }) else {
        return .now(badOption("above must be a version"))
      }
      if UInt64(current.number) <= above { return .fields(Answer(.noContent), fields) }
    }
    body.writeBytes(current.json)
    return .fields(Answer(.ok, .json), fields)
  }

  private func push(
    _ json: ByteBuffer, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    guard let keeper = node.configuration.keeper else {
      writeError(
        "this node knows its shard from its leader's environment (FOLLOWER_URLS), not from a configuration: change that"
      )
      return .now(Answer(.conflict, .json))
    }
    guard !isDraining else { return .now(unavailable("the node is stopping")) }
    let passesOn: Bool
    switch query.text(ConfigurationSpread.parameter) {
    case nil, "true": passesOn = true
    case "false": passesOn = false
    default: return .now(badOption("\(ConfigurationSpread.parameter) must be true or false"))
    }
    let push = ConfigurationPush(keeper: keeper, passesOn: passesOn)
    let promise = eventLoop.makePromise(of: ConfigurationPush.Outcome.self)
    promise.completeWithTask { await push.run(Array(json.readableBytesView)) }
    promise.futureResult.assumeIsolated().whenSuccess { outcome in
      lane.deliver(.now(self.say(outcome)))
      // The answer is on its way: the node may begin anew.
      if case .counts = outcome { keeper.settle() }
    }
    return .later
  }

  private func say(_ outcome: ConfigurationPush.Outcome) -> Answer {
    switch outcome {
    case .counts(let map, let nodes):
      writeCounts(map, nodes)
      return Answer(.ok, .json)
    case .malformed(let reason): return badOption(reason)
    case .refused(let reason):
      writeError(reason)
      return Answer(.conflict, .json)
    case .failed(let error):
      writeError("the configuration is not taken: \(error)")
      return Answer(error.isFullDisk ? .insufficientStorage : .internalError, .json)
    case .busy(let reason): return unavailable(reason)
    }
  }

  private func writeCounts(
    _ map: ShardMap, _ nodes: [(address: String, outcome: ConfigurationSpread.Outcome)]
  ) {
    var missing: [(address: String, reason: String)] = []
    body.writeString("{\"version\":\(map.version),\"have\":[")
    var separator = ""
    for node in nodes {
      switch node.outcome {
      case .has:
        body.writeString(separator)
        writeText(node.address)
        separator = ","
      case .missing(let reason): missing.append((node.address, reason))
      }
    }
    body.writeString("],\"missing\":[")
    separator = ""
    for node in missing {
      body.writeString("\(separator){\"node\":")
      writeText(node.address)
      body.writeString(",\"reason\":")
      writeText(node.reason)
      body.writeString("}")
      separator = ","
    }
    body.writeString("]}")
  }

  private func writeText(_ text: String) {
    var text = text
    text.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &body) }
  }
}

extension NodeState {
  /// What it goes by; nil for a node alone.
  var configurationVersion: ConfigurationVersion? {
    configuration.keeper?.current ?? cluster.map { ConfigurationVersion($0.map) }
  }

  /// The same, its number alone.
  var configVersion: Int? { configuration.keeper?.current.number ?? cluster?.map.version }
}
