import Client
import NIOCore
import NIOPosix
import Synchronization

/// A client of a whole cluster, for any number of tasks.
///
/// It reads the configuration from any node, sends each request to a node of its key's shard (writes to the one
/// that leads it, reads as `KVReadSource` says), and follows promotions, redirections and new configurations.
/// What is certain not to have been done is asked for again, within the call's time; what may have been done
/// only if it is a read, or `KVClientOptions.repeatsWrites` says so.
///
/// Each call ends within `KVClientOptions.timeout`, and at once when its task is cancelled. All of them throw
/// `KVClientError`, whose `nothingWasDone` says whether that is certain. Keys are 1 to 4,096 bytes.
public final class KVClient: Sendable {
  /// Nodes that the configuration is read from first.
  public let seeds: [NodeAddress]
  public let options: KVClientOptions

  /// The configuration is asked for again after so long, by the calls that there are.
  static let refreshPause = TimeAmount.seconds(5)
  /// The same where something speaks for its being another one.
  static let refreshPauseLeast = TimeAmount.milliseconds(500)
  /// What nodes have to tell who leads, or the configuration.
  static let surveyTime = TimeAmount.seconds(1)
  static let configurationTime = TimeAmount.seconds(2)

  package let pool: KVPool
  let state = Mutex(RoutingState())
  let refresh = Mutex(RefreshTimes())
  /// By shard: what sessions were answered in.
  let epochs = Mutex(SeenEpochs())
  let configurations: SingleFlight<Int, ConfigurationSource.Beginning>
  let searches: SingleFlight<SearchKey, LeaderSearch.Outcome>

  /// A shard of a certain configuration.
  struct SearchKey: Hashable, Sendable {
    var version: Int?
    var shard: Int
  }

  /// - Parameters:
  ///   - seeds: one node at least; several, so that one of them may be away when the client begins.
  ///   - readFrom: which nodes of a shard are asked for reads.
  ///   - timeout: for each call, with all its attempts.
  public convenience init(
    seeds: [NodeAddress], readFrom: KVReadSource = .leader, timeout: Duration = .seconds(10)
  ) {
    var options = KVClientOptions()
    options.readFrom = readFrom
    options.timeout = timeout
    self.init(seeds: seeds, options: options)
  }

  /// - Parameter group: outlives the client, which does not shut it down.
  public init(
    seeds: [NodeAddress], options: KVClientOptions,
    group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
  ) {
    precondition(!seeds.isEmpty, "a client has to know one node at least")
    var unique: [NodeAddress] = []
    for seed in seeds where !unique.contains(seed) { unique.append(seed) }
    self.seeds = unique
    self.options = options
    pool = KVPool(group: group, limits: options.limits)
    configurations = SingleFlight(group: group)
    searches = SingleFlight(group: group)
  }

  /// Ends the client: calls that wait for a connection fail, those that are under way come to their end.
  /// Returns when all connections are closed.
  public func close() async {
    // It does not fail.
    do { try await pool.close().get() } catch {}
  }

  /// Runs `body` with a client, and closes it.
  public static func with<R>(
    seeds: [NodeAddress], options: KVClientOptions = KVClientOptions(),
    _ body: (KVClient) async throws(KVClientError) -> R
  ) async throws(KVClientError) -> R {
    let client = KVClient(seeds: seeds, options: options)
    do throws(KVClientError) {
      let result = try await body(client)
      await client.close()
      return result
    } catch {
      await client.close()
      throw error
    }
  }

  /// The shards and their nodes, as they are known now.
  public func topology() async throws(KVClientError) -> KVTopology {
    try await loadRoutes(deadline: .now() + TimeAmount(options.timeout))
    return state.withLock { state in
      KVTopology(
        version: state.version,
        shards: state.shards.map {
          KVTopology.Shard(name: $0.name, nodes: $0.nodes, leader: $0.leader)
        })
    }
  }

  /// What a node says of itself, JSON in UTF-8.
  public func status(of node: NodeAddress) async throws(KVClientError) -> [UInt8] {
    try await NodeClient(node, pool: pool, timeout: options.timeout).status()
  }
}
