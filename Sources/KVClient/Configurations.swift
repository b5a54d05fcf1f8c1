import Client
import NIOCore
import Sharding

/// When the configuration is asked for again.
struct RefreshTimes {
  private var last = NIODeadline.uptimeNanoseconds(0)
  private var next = NIODeadline.uptimeNanoseconds(0)
  private var isUnderWay = false

  /// - Returns: whether it is to be done now, by whoever asks.
  mutating func begins(_ now: NIODeadline) -> Bool {
    guard !isUnderWay, now >= next else { return false }
    isUnderWay = true
    return true
  }

  mutating func ended(_ now: NIODeadline) {
    isUnderWay = false
    last = now
    next = now + KVClient.refreshPause
  }

  /// Something speaks for a new one.
  mutating func comeSoon() {
    next = min(next, last + KVClient.refreshPauseLeast)
  }
}

/// How the client learns what it knows.
extension KVClient {
  /// Sees to it that the shards and their nodes are known.
  func loadRoutes(deadline: NIODeadline) async throws(KVClientError) {
    guard !state.withLock({ $0.isKnown }) else { return }
    let beginning = await configurations.run(0, deadline: deadline) { [pool, seeds] in
      let beginning = await ConfigurationSource(pool).begin(
        seeds, deadline: .now() + Self.configurationTime)
      self.take(beginning)
      return beginning
    }
    guard let beginning else {
      throw .neverSent(seeds[0], Task.isCancelled ? .cancelled : .timedOut(.answer))
    }
    if case .failed(let error) = beginning { throw error }
  }

  private func take(_ beginning: ConfigurationSource.Beginning) {
    state.withLock { state in
      switch beginning {
      case .map(let map): state.adopt(map)
      case .alone(let reports): state.adopt(alone: reports, seeds: seeds)
      case .failed: break
      }
    }
    refresh.withLock { $0.ended(.now()) }
  }

  /// Asks a few nodes for a newer configuration if it is time, beside the call that comes along.
  func refreshIfDue() {
    let now = NIODeadline.now()
    guard state.withLock({ $0.isKnown }), refresh.withLock({ $0.begins(now) }) else { return }
    Task {
      await refreshConfiguration()
      refresh.withLock { $0.ended(.now()) }
    }
  }

  func refreshConfiguration() async {
    let (version, nodes) = state.withLock { ($0.version, $0.someNodes(3, .now())) }
    var asked = nodes
    if let seed = seeds.randomElement(), !asked.contains(seed) { asked.append(seed) }
    let source = ConfigurationSource(pool)
    await withTaskGroup(of: ConfigurationSource.Answer.self) { group in
      for node in asked {
        group.addTask {
          await source.ask(node, above: version, deadline: .now() + Self.configurationTime)
        }
      }
      for await answer in group {
        if case .map(let map) = answer { state.withLock { _ = $0.adopt(map) } }
      }
    }
  }

  /// Finds out who leads a shard.
  ///
  /// - Returns: why nobody does; nil once somebody is known to.
  func findLeader(of shard: Int, deadline: NIODeadline) async -> KVClientError? {
    let known = state.withLock { state in
      state.shards.indices.contains(shard)
        ? (state.shards[shard], state.version, state.shards.count) : nil
    }
    guard let (place, version, count) = known else { return nil }
    let key = SearchKey(version: version, shard: shard)
    let outcome = await searches.run(key, deadline: deadline) { [pool] in
      let outcome = await LeaderSearch(pool).find(
        place.nodes, shard: version == nil ? nil : (shard, count), within: Self.surveyTime)
      if case .found(let leader) = outcome {
        self.state.withLock { if $0.version == version { $0.leads(leader, shard: shard) } }
      }
      return outcome
    }
    switch outcome {
    case .found: return nil
    case .nobody(let reason): return .noLeader(shard: place.name, reason)
    case nil:
      return .neverSent(place.nodes[0], Task.isCancelled ? .cancelled : .timedOut(.answer))
    }
  }
}
