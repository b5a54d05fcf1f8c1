import Client
import Synchronization

/// What one user of a client has written and read, so that it reads nothing older.
///
/// In a leaderless shard its writes replace what it has written and read, too, whichever node takes them.
///
/// Given to calls of one client, one after the other or at once: a read sees what the writes of the session
/// that were answered before it have written, whichever node answers, and of no shard anything older than
/// what the session has read of it. Of each shard the newest version is kept, of a leaderless one what was seen of
/// each of its logs, and nothing else.
public final class KVSession: Sendable {
  fileprivate struct Seen {
    var shardCount = 0
    var tags: [Int: VersionTag] = [:]
    /// Of leaderless shards.
    var contexts: [Int: KVContext] = [:]
  }

  private let seen = Mutex(Seen())

  public init() {}

  /// Something of that version was written or read.
  package func note(_ etag: String, shard: Int, of count: Int) {
    guard let tag = VersionTag(etag) else { return }
    seen.withLock { seen in
      seen.move(to: count)
      if let old = seen.tags[shard], !(old < tag) { return }
      seen.tags[shard] = tag
    }
  }

  /// What an answer says of what was read or written. Older nodes say of a delete and of a batch its number alone.
  func note(_ answered: Answered) {
    if let seen = answered.answer.seen {
      note(seen, shard: answered.shard, of: answered.shardCount)
    } else if let etag = answered.answer.etag {
      note(etag, shard: answered.shard, of: answered.shardCount)
    } else if let version = answered.answer.version {
      note(version: version, shard: answered.shard, of: answered.shardCount)
    }
  }

  /// The same of a number alone: of the epoch that was seen last.
  package func note(version: UInt64, shard: Int, of count: Int) {
    seen.withLock { seen in
      seen.move(to: count)
      let tag = VersionTag(version, after: seen.tags[shard])
      if let old = seen.tags[shard], !(old < tag) { return }
      seen.tags[shard] = tag
    }
  }

  /// So much of a leaderless shard was seen.
  package func note(_ context: KVContext, shard: Int, of count: Int) {
    seen.withLock { seen in
      seen.move(to: count)
      seen.contexts[shard, default: KVContext()].merge(context)
    }
  }

  /// What a node of that shard must have to take a write: nil where there is a leader, which has everything.
  package func seen(shard: Int, of count: Int) -> String? {
    seen.withLock { seen in
      seen.move(to: count)
      return seen.contexts[shard].map { "\($0)" }
    }
  }

  /// What a read of that shard must not be older than.
  package func minimum(shard: Int, of count: Int) -> String? {
    seen.withLock { seen in
      seen.move(to: count)
      return seen.contexts[shard].map { "\($0)" } ?? seen.tags[shard]?.text
    }
  }
}

extension KVSession.Seen {
  /// A shard that is divided hands its history on to each of its children: shard j of a multiple of n was
  /// shard j mod n. Any other change of their number is of another store.
  fileprivate mutating func move(to count: Int) {
    guard count != shardCount else { return }
    let (oldTags, oldContexts, oldCount) = (tags, contexts, shardCount)
    shardCount = count
    (tags, contexts) = ([:], [:])
    guard oldCount > 0, count.isMultiple(of: oldCount) else { return }
    for shard in 0..<count {
      tags[shard] = oldTags[shard % oldCount]
      contexts[shard] = oldContexts[shard % oldCount]
    }
  }
}

/// A version and its epoch, as an entity tag has them: `"VERSION.EPOCH-NODE"`.
package struct VersionTag: Comparable {
  /// Without quotes.
  package let text: String
  let epoch: UInt64
  private let version: UInt64

  /// - Returns: nil when that is none of a node of Shiplog.
  package init?(_ etag: String) {
    var text = etag[...]
    if text.hasPrefix("\""), text.hasSuffix("\""), text.utf8.count >= 2 {
      text = text.dropFirst().dropLast()
    }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, let version = UInt64(parts[0]),
      let dash = parts[1].firstIndex(of: "-"), let epoch = UInt64(parts[1][..<dash]),
      parts[1][dash...].dropFirst().allSatisfy(\.isHexDigit)
    else { return nil }
    self.text = String(text)
    self.epoch = epoch
    self.version = version
  }

  /// A number alone.
  init(_ version: UInt64, after tag: VersionTag?) {
    text = String(version)
    epoch = tag?.epoch ?? 0
    self.version = version
  }

  /// A later epoch may use numbers again.
  package static func < (a: VersionTag, b: VersionTag) -> Bool {
    (a.epoch, a.version) < (b.epoch, b.version)
  }

  package static func == (a: VersionTag, b: VersionTag) -> Bool {
    (a.epoch, a.version) == (b.epoch, b.version)
  }
}

/// The latest epoch of each shard that a client has seen in an entity tag.
struct SeenEpochs {
  private var shardCount = 0
  private var epochs: [Int: UInt64] = [:]

  /// Whether that is later than what was seen of the shard. The first is not, and is noted.
  mutating func isLater(_ epoch: UInt64, shard: Int, of count: Int) -> Bool {
    guard count == shardCount, let known = epochs[shard] else {
      note(epoch, shard: shard, of: count)
      return false
    }
    return known < epoch
  }

  mutating func note(_ epoch: UInt64, shard: Int, of count: Int) {
    if count != shardCount { (shardCount, epochs) = (count, [:]) }
    epochs[shard] = max(epochs[shard] ?? 0, epoch)
  }
}
