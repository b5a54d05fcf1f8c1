import Sharding
import WAL

/// `PUT /admin/config` from its body to its answer.
struct ConfigurationPush: Sendable {
  enum Outcome: Sendable {
    /// It counts here, and these have it, or do not.
    case counts(ShardMap, nodes: [(address: String, outcome: ConfigurationSpread.Outcome)])
    case malformed(String)
    case refused(String)
    case failed(WALError)
    case busy(String)
  }

  let keeper: ConfigurationKeeper
  /// Whether the other nodes are told.
  let passesOn: Bool

  func run(_ json: [UInt8]) async -> Outcome {
    do {
      let offered = try await keeper.reading { try ShardMap(json: json, file: "request") }
      let before = keeper.current.map
      if passesOn, case .taken = ShardMapUpdate(of: before, by: offered),
        let obstacle = await ShardLeaderCheck(pool: keeper.pool).obstacle(from: before, to: offered)
      {
        return .refused(obstacle)
      }
      switch try await keeper.reading({ keeper.offer(offered) }) {
      case .taken:
        keeper.logger.notice("configuration: version \(offered.version) counts from now on")
      case .known: break
      case .refused(let reason): return .refused(reason)
      case .failed(let error): return .failed(error)
      }
      return .counts(offered, nodes: await spread(offered, before))
    } catch let error as ShardMapError {
      return .malformed("\(error)")
    } catch {
      return .busy("\(error)")
    }
  }

  private func spread(
    _ map: ShardMap, _ before: ShardMap
  ) async -> [(address: String, outcome: ConfigurationSpread.Outcome)] {
    var known: Set<String> = [keeper.address]
    let others =
      passesOn ? (map.addresses + before.addresses).filter { known.insert($0).inserted } : []
    let spread = ConfigurationSpread(pool: keeper.pool, version: ConfigurationVersion(map))
    return [(keeper.address, .has)] + (await spread.tell(others))
  }
}
