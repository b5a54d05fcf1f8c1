import Engine
import Sharding
import SimulatedDisk
import WAL

/// A store on a simulated disk that is one shard of several, and may be started as another.
final class DoublingNode {
  let disk: SimulatedDisk
  let clock: SimulatedClock
  var options: StoreOptions
  private let client = StoreClient()
  private(set) var store: Store!

  init(
    _ shard: ShardNote, node: UInt64,
    disk: SimulatedDisk = SimulatedDisk(seed: 1, directories: ["/data"]),
    clock: SimulatedClock = SimulatedClock()
  ) {
    self.disk = disk
    self.clock = clock
    options = StoreOptions(dataDirectory: "/data", node: node)
    options.fileSystem = disk
    options.clock = clock.clock
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.snapshotBytesPerSecond = nil
    be(shard)
  }

  var shard: ShardNote {
    ShardNote(index: options.shardIndex, count: options.shardCount, hash: options.hash)
  }

  func be(_ shard: ShardNote) {
    (options.shardIndex, options.shardCount, options.hash) = (shard.index, shard.count, shard.hash)
  }

  /// `cp -a` of its directory, for another shard.
  func copied(as shard: ShardNote, node: UInt64, seed: UInt64 = 1) -> DoublingNode {
    let other = SimulatedDisk(
      seed: seed, directories: ["/data", "/data/wal", "/data/snapshots"])
    for path in disk.paths where !path.hasSuffix("LOCK") { other.put(path, disk.contents(path)!) }
    return DoublingNode(shard, node: node, disk: other, clock: clock)
  }

  func start() throws(WALError) { store = try Store.open(options) }

  func stop() throws(WALError) {
    try store.close()
    store = nil
  }

  /// The process is gone.
  func kill() {
    disk.fault = { _, _ in .die }
    do { try store?.close() } catch {}
    store = nil
    disk.restartProcess()
  }

  func put(_ key: String, _ value: String, expiry: UInt64? = nil) {
    client.submit(to: store) { $0.put(key, value, store.index, expiry: expiry) }
  }

  func delete(_ key: String) { client.delete(key, in: store) }

  @discardableResult
  func purge(checkedThrough: UInt64? = nil) -> WriteRequest {
    let shard = shard
    return client.submit(to: store) {
      $0.purge(
        keeping: ShardRange(hash: shard.hash.rawValue, index: shard.index, count: shard.count),
        checkedThrough: checkedThrough, token: 0)
    }.requests[0]
  }

  func snapshot() throws {
    store.snapshots.request { _ in }
    store.step()
  }

  var contents: [[UInt8]: Found] { store.index.contents() }
  var note: ShardNote? {
    disk.contents("/data/shard").flatMap {
      ShardNote(String(decoding: $0.prefix { $0 != 10 }, as: UTF8.self))
    }
  }

  /// What this node has of a shard, and what the owner says of that, as the nodes ask one another.
  func judge(_ shard: UInt32, by owner: DoublingNode) throws -> PurgeProof.Verdict {
    let content = store.index.contents(ofShards: options.shardCount)[shard] ?? ShardContent()
    let proof = PurgeProof(
      shard: shard, shardCount: options.shardCount, hash: options.hash, content: content,
      origin: store.origin)
    var report = PurgeProof.Report(
      address: "owner", shard: owner.options.shardIndex, shardCount: owner.options.shardCount,
      hash: owner.options.hash.name, isLeading: true, origin: owner.store.origin,
      confirmed: owner.store.progress.durable)
    let points = [try store.point(behind: content.highestVersion), store.shardStartPoint]
    for point in points.compactMap(\.self) {
      report.points.append((point, try owner.store.evidence(of: point)))
    }
    if let start = owner.store.shardStartPoint {
      report.start = (start, try store.evidence(of: start))
    }
    let epoch = store.epochs.epoch(of: content.highestVersion)!
    report.content = (
      owner.store.index.contents(ofShards: options.shardCount)[shard] ?? ShardContent(),
      owner.store.evidence(ofEpoch: epoch, at: content.highestVersion)
    )
    return proof.judge(report)
  }
}
