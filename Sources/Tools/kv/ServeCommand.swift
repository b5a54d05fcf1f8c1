import ArgumentParser
import Client
import Logging
import Server
import ServiceLifecycle
import Sharding
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Runs one node.",
    discussion: """
      Without a configuration it serves one shard from ./data at 127.0.0.1:8080. With one, it is the node \
      whose address --http-addr is. There is no authentication yet: whoever reaches the address can read \
      and change everything.

      Environment: PORT, NODE_ID, FAST_LANE, W and R are defaults; a flag beats them. With PORT alone the \
      data directory is ./data/PORT. Instead of a configuration NODE_TYPE=leader with FOLLOWER_URLS \
      (HOST:PORT,HOST:PORT) leads those, and NODE_TYPE=follower waits until its leader announces itself; \
      PEER_URLS names the other nodes of a shard without a leader.
      """)

  @Option(
    name: [.customLong("data-dir"), .customLong("db-location")],
    help: ArgumentHelp("Where the data is; made when there is none.", valueName: "directory"))
  var dataDirectory: String?

  @Option(
    name: [.customLong("http-addr"), .customLong("http-address")],
    help: ArgumentHelp("Where to listen. (default: 127.0.0.1:8080)", valueName: "host:port"))
  var address: String?

  @OptionGroup var place: PlaceOptions
  @OptionGroup var follow: FollowOption

  @Option(
    name: .customLong("sync"),
    help: "When a write is acknowledged: always (on the disk), interval:MS, none.")
  var syncPolicy = SyncArgument(policy: .always)

  @Option(help: "Bytes of one file of the log, as 64MiB.")
  var segmentBytes = ByteCount(bytes: Int(Format.segmentBytesDefault))

  @Option(
    help: "A snapshot is made when the log behind the last one outgrows this, and that snapshot.")
  var snapshotWalBytes = ByteCount(bytes: 256 << 20)

  @Option(
    help: "Log that only copies that are being made still need is kept up to so many bytes.")
  var walRetainBytes = ByteCount(bytes: 1 << 30)

  @OptionGroup var routing: RoutingOptions

  @Option(
    help: "What a read of a leaderless shard says of a key with concurrent values: siblings, lww.")
  var conflicts = ConflictPolicy.siblings

  @Option(help: "The text of the classic routes: classic, compact, plain.")
  var dialect = DialectName.classic

  @Option(help: "Read the frequent requests from the raw bytes: on, off.")
  var fastLane: Switch?

  @Option(help: "Event loops. (default: one less than there are cores)")
  var threads: Int?

  @Option(help: "The largest value that is taken, as 16MiB.")
  var maxValueBytes = ByteCount(bytes: Format.valueBytesMax)

  @Option(
    help: "Puts are refused when keys and values take that much, as 4GiB. (default: no bound)")
  var maxMemory: ByteCount?

  @Option(
    help: ArgumentHelp(
      "A replica that is further behind its leader is not ready. (default: no bound)",
      valueName: "seconds"))
  var maxLag: Int?

  @Option(help: "A connection on which nothing happens is closed after that many seconds.")
  var idleSeconds = Limits().idleSeconds

  @Option(
    help: ArgumentHelp(
      "A test setting, the same for all nodes: what they send each other takes that long on its way, up to \(Self.peerDelayMax).",
      valueName: "milliseconds"))
  var peerDelayMs = 0

  @Option(help: "trace, debug, info, notice, warning, error, critical.")
  var logLevel = LogLevel(level: .info)

  @Option(help: "text, json.")
  var logFormat = LineLogHandler.Format.text

  @Flag(help: "Stop, as at SIGTERM, when standard input ends: for what starts nodes, and may die.")
  var stopWithInput = false

  private static let peerDelayMax = 10_000

  func validate() throws {
    if let threads, !(1...1_024).contains(threads) {
      throw ValidationError("--threads must be from 1 to 1024")
    }
    if let maxLag, !(1...86_400).contains(maxLag) {
      throw ValidationError("--max-lag must be from 1 to 86400 seconds")
    }
    guard (0...Self.peerDelayMax).contains(peerDelayMs) else {
      throw ValidationError("--peer-delay-ms must be from 0 to \(Self.peerDelayMax)")
    }
    guard (1...86_400).contains(idleSeconds) else {
      throw ValidationError("--idle-seconds must be from 1 to 86400")
    }
    let segment = UInt64(segmentBytes.bytes)
    guard segment % 4_096 == 0, (Format.segmentBytesMin...1 << 40).contains(segment) else {
      throw ValidationError("--segment-bytes must be a multiple of 4096, from 4KiB to 1TiB")
    }
    guard (1...Format.valueBytesMax).contains(maxValueBytes.bytes) else {
      throw ValidationError("--max-value-bytes must be from 1 to \(Format.valueBytesMax)")
    }
    let environment = ProcessInfo.processInfo.environment
    _ = try address(in: environment)
    _ = try place.quorums(in: environment)
    _ = try usesFastLane(in: environment)
    _ = try environmentPlace(environment)
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    ProcessMemory.configure()
    if stopWithInput { StandardInput.stopAtEnd() }
    let handler = LineLogHandler(format: logFormat, level: logLevel.level)
    var logger = Logger(label: "shiplog") { _ in handler }
    logger.logLevel = logLevel.level
    let environment = ProcessInfo.processInfo.environment
    let chosen = try chosenConfiguration(environment)
    var configuration = try settings(environment, chosen?.map)
    // Files of the log, and what the system needs, come first.
    configuration.limits.connectionsMax = min(
      configuration.limits.connectionsMax, max(16, DescriptorLimit.raise() - 256))
    if knowsItsPlace, environment["NODE_TYPE"] != nil {
      logger.notice("a flag says what this node is: NODE_TYPE and FOLLOWER_URLS are passed over")
    }
    if let remark = chosen?.remark { logger.notice("\(remark)") }
    if peerDelayMs > 0 {
      logger.warning("other nodes seem \(peerDelayMs) ms away: --peer-delay-ms is for tests")
    }
    let keeper = try chosen.map {
      try ConfigurationKeeper(
        $0.map, address: configuration.address, dataDirectory: configuration.dataDirectory,
        logger: logger, placing: placing(configuration, environment))
    }
    configuration.keeper = keeper
    let failureLogger = logger
    let service = NodeService(
      configuration: configuration, join: try join(configuration, environment),
      keeper: keeper, storesConfiguration: chosen?.isToBeStored ?? false,
      handler: handler, logger: logger
    ) { error in
      failureLogger.critical("\(error)")
      _exit(1)
    }
    // Its own messages are about itself.
    var quiet = logger
    quiet.logLevel = max(.error, logLevel.level)
    let group = ServiceGroup(
      configuration: ServiceGroupConfiguration(
        services: [.init(service: service)], gracefulShutdownSignals: [.sigterm, .sigint],
        logger: quiet))
    do {
      try await group.run()
    } catch let code as ExitCode {
      throw code
    } catch {
      throw Output.failure("\(error)")
    }
  }

  /// A flag says which node this is, or whom it follows.
  private var knowsItsPlace: Bool { place.configFile != nil || follow.follow != nil }

  private func environmentPlace(_ environment: [String: String]) throws -> EnvironmentPlace? {
    knowsItsPlace ? nil : try EnvironmentPlace(environment)
  }

  /// What a node becomes once a leader has announced itself; nil where it waits for none.
  private func join(
    _ configuration: Configuration, _ environment: [String: String]
  ) throws -> (@Sendable (Announcement) throws -> Configuration)? {
    guard case .follower = try environmentPlace(environment) else { return nil }
    let quorums = try place.quorums(in: environment)
    return { told in
      let source = "the announcement of \(told.membership.leader)"
      let (map, place) = try ConfigurationFile.refused { () throws(ShardMapError) in
        let map = try told.membership.map(source: source)
        return (map, try map.place(address: told.addressee, shard: nil, isReplica: true))
      }
      var joined = configuration
      try PlaceOptions.node(map, place, quorums).apply(to: &joined)
      joined.nodeID = told.addressee
      joined.announcement = told.membership
      return joined
    }
  }

  /// The configuration of the cluster that counts: the file's, or the one that the node has taken since.
  /// Nil where there is none, or something else says what the node is.
  private func chosenConfiguration(
    _ environment: [String: String]
  ) throws -> ConfigurationChoice? {
    if place.configFile == nil {
      guard follow.follow == nil, try environmentPlace(environment) == nil else { return nil }
    }
    let file = try place.configFile.map(ConfigurationFile.read)
    do {
      let stored = try ConfigurationNote(dataDirectory(environment)).read()
      return try ConfigurationChoice(file: file, stored: stored)
    } catch {
      throw Output.failure("\(error)")
    }
  }

  /// What this node is by another configuration than that of its start.
  private func placing(
    _ configuration: Configuration, _ environment: [String: String]
  ) throws -> @Sendable (ShardMap) throws -> Configuration {
    let quorums = try place.quorums(in: environment)
    let (address, shard) = (configuration.address, Int(configuration.shardIndex))
    let id = environment["NODE_ID"]
    return { map in
      let isListed = map.addresses.contains(address)
      let place = try map.place(
        address: address, shard: isListed ? nil : map.shards[shard].name, isReplica: !isListed)
      let node = ConfiguredNode(map, place, quorums)
      if let refusal = PlaceOptions.refusal(of: id, map, place) ?? node.refusal {
        throw PlaceRefused(description: refusal)
      }
      var next = configuration
      node.apply(to: &next)
      guard next.followedAddress == nil || next.role == .replica else {
        throw PlaceRefused(description: "\(address) was started with --follow, and is to lead")
      }
      return next
    }
  }

  private struct PlaceRefused: Error, CustomStringConvertible { let description: String }

  private func settings(
    _ environment: [String: String], _ map: ShardMap?
  ) throws -> Configuration {
    let given = try address(in: environment)
    let role = try environmentPlace(environment)
    let node = try configuredNode(given, role, map, environment)
    let address = try node.map { try NodeAddress(parsing: $0.place.address) } ?? given
    var configuration = Configuration(
      dataDirectory: dataDirectory(environment),
      host: address?.host ?? "127.0.0.1", port: Int(address?.port ?? 8080))
    configuration.syncPolicy = syncPolicy.policy
    configuration.segmentBytes = UInt64(segmentBytes.bytes)
    configuration.snapshotLogBytes = UInt64(snapshotWalBytes.bytes)
    configuration.retainBytes = UInt64(walRetainBytes.bytes)
    configuration.dialect = dialect
    configuration.routing = routing.routing
    configuration.readFrom = routing.readFrom
    configuration.conflicts = conflicts
    configuration.usesFastLane = try usesFastLane(in: environment)
    configuration.threads = threads
    configuration.memoryBytesMax = maxMemory?.bytes
    configuration.lagSecondsMax = maxLag
    configuration.showsUnconfirmed = place.readUnconfirmed
    configuration.nodeID = environment["NODE_ID"]
    configuration.limits.valueBytesMax = maxValueBytes.bytes
    configuration.limits.idleSeconds = idleSeconds
    configuration.peerDelayMilliseconds = peerDelayMs
    node?.apply(to: &configuration)
    try follow.apply(to: &configuration, isConfigured: node != nil)
    if role != nil { configuration.name = environment["NODE_ID"] }
    if case .leaderless = role { configuration.nodeID = nil }
    if case .leader(let followers) = role, let node, !followers.isEmpty {
      // The others know it by its address.
      configuration.nodeID = node.place.address
      configuration.announcement = try announcement(of: node, environment)
    }
    return configuration
  }

  private func configuredNode(
    _ address: NodeAddress?, _ role: EnvironmentPlace?, _ map: ShardMap?,
    _ environment: [String: String]
  ) throws -> ConfiguredNode? {
    let text = "\(address.map { "\($0)" } ?? "127.0.0.1:8080")"
    switch role {
    case .follower:
      return nil
    case .leaderless(let peers):
      let nodes = Set(peers.map { "\($0)" } + [text]).sorted()
      let map = try ConfigurationFile.refused { () throws(ShardMapError) in
        try ShardMap(leaderless: nodes, source: "PEER_URLS")
      }
      return try place.find(address: text, in: nil, environment, told: map)
    case .leader(let followers) where !followers.isEmpty:
      let map = try ConfigurationFile.refused { () throws(ShardMapError) in
        try ShardMap(leader: text, replicas: followers.map { "\($0)" }, source: "FOLLOWER_URLS")
      }
      return try place.find(address: text, in: nil, environment, told: map)
    case .leader, nil:
      return try place.find(address: address.map { "\($0)" }, in: map, environment)
    }
  }

  /// What a leader tells those that the environment names.
  private func announcement(
    of node: ConfiguredNode, _ environment: [String: String]
  ) throws -> Membership {
    let shard = node.place.shard
    let read = try place.quorums(in: environment).read
    return try ConfigurationFile.refused { () throws(ShardMapError) in
      try Membership(
        leader: shard.nodes[0], replicas: Array(shard.replicas), writeQuorum: node.writeQuorum,
        readQuorum: read ?? 1, source: "FOLLOWER_URLS")
    }
  }

  /// Where to listen; nil when nobody said.
  private func address(in environment: [String: String]) throws -> NodeAddress? {
    let port = address == nil ? environment["PORT"] : nil
    guard let text = address ?? port.map({ "127.0.0.1:\($0)" }) else { return nil }
    do {
      return try NodeAddress(parsing: text)
    } catch {
      throw ValidationError("\(port == nil ? "--http-addr" : "PORT"): \(error)")
    }
  }

  private func dataDirectory(_ environment: [String: String]) -> String {
    if let dataDirectory { return dataDirectory }
    guard let port = environment["PORT"], address == nil else { return "./data" }
    return "./data/\(port)"
  }

  private func usesFastLane(in environment: [String: String]) throws -> Bool {
    if let fastLane { return fastLane == .on }
    guard let text = environment["FAST_LANE"] else { return true }
    guard let value = Switch(rawValue: text) else {
      throw ValidationError("FAST_LANE must be on or off, not \"\(text)\"")
    }
    return value == .on
  }
}
