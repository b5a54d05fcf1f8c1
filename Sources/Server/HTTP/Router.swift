import Client
import Engine
import NIOCore
import NIOHTTP1
import Sharding

/// How a request of the standard pipeline is answered.
enum Handling {
  /// The body is the loop's.
  case now(Answer)
  /// The body is that value.
  case value(Answer, LargeValue)
  /// The body is the loop's, and where the next page begins goes with it.
  case page(Answer, next: String?)
  /// The body is the loop's, and the head has these fields as well.
  case fields(Answer, [(name: String, value: String)])
  /// The body is what the stream sends.
  case stream(Answer, any AnswerStream)
  /// What another node has answered.
  case forwarded(KVResponse)
  /// The lane is told later.
  case later
}

/// Which request goes where: path and method to a function of the routes.
extension LoopState {
  /// What a path is for.
  private enum Place {
    case get, set, delete, purge
    case jsonGet(key: ArraySlice<UInt8>)
    case localRead(key: ArraySlice<UInt8>)
    case entry(key: ArraySlice<UInt8>)
    case entries, batch
    case status, health, ready, metrics, makeSnapshot, snapshot, repair, diverged, history
    case promote, promise, handOver, announce
    case watch, logStream, acknowledgement, position, positions, versions
    case configuration
    case replaced
    case unknown

    init(_ path: [UInt8]) {
      switch path {
      case Paths.get: self = .get
      case Paths.set: self = .set
      case Paths.delete: self = .delete
      case Paths.purge: self = .purge
      case Paths.entries: self = .entries
      case Paths.batch: self = .batch
      case Paths.status: self = .status
      case Paths.health, Paths.healthz: self = .health
      case Paths.ready: self = .ready
      case Paths.metrics: self = .metrics
      case Paths.makeSnapshot: self = .makeSnapshot
      case Paths.promote: self = .promote
      case Paths.promise: self = .promise
      case Paths.handOver: self = .handOver
      case Paths.announce: self = .announce
      case Paths.snapshot: self = .snapshot
      case Paths.repair: self = .repair
      case Paths.diverged: self = .diverged
      case Paths.history: self = .history
      case Paths.watch: self = .watch
      case Paths.logStream: self = .logStream
      case Paths.acknowledgement: self = .acknowledgement
      case Paths.position: self = .position
      case Paths.positions: self = .positions
      case Paths.versions: self = .versions
      case Paths.configuration: self = .configuration
      case _ where Paths.replaced.contains(path): self = .replaced
      case _ where path.starts(with: Paths.entryPrefix):
        self = .entry(key: path[Paths.entryPrefix.count...])
      case _ where path.starts(with: Paths.getPrefix):
        self = .jsonGet(key: path[Paths.getPrefix.count...])
      case _ where path.starts(with: Paths.localReadPrefix):
        self = .localRead(key: path[Paths.localReadPrefix.count...])
      default: self = .unknown
      }
    }

    var allow: StaticString {
      switch self {
      case .get, .jsonGet, .localRead, .entries, .status, .health, .ready, .metrics, .watch,
        .logStream, .snapshot, .diverged, .position, .history, .versions:
        "GET, HEAD"
      case .positions: "GET, HEAD, POST"
      case .set: "GET, POST, PUT"
      case .delete: "GET, POST, DELETE"
      case .configuration: "GET, HEAD, PUT"
      case .purge: "GET, POST"
      case .entry: "GET, HEAD, PUT, DELETE"
      case .batch, .makeSnapshot, .acknowledgement, .promote, .promise, .handOver, .announce,
        .repair:
        "POST"
      case .replaced, .unknown: ""
      }
    }

    /// Whether it is for shards that have a leader.
    var needsLeader: Bool {
      switch self {
      case .purge, .promote, .promise, .handOver, .announce, .repair, .position: true
      default: false
      }
    }

    /// Whether a request changes keys.
    func isWritten(by method: HTTPMethod) -> Bool {
      switch self {
      case .set, .delete, .purge, .batch: true
      case .entry: method == .PUT || method == .DELETE
      default: false
      }
    }

    /// Whether the path has that method; all that can be read can be asked for its head.
    func allows(_ method: HTTPMethod) -> Bool {
      switch (self, method) {
      case (.get, .GET), (.get, .HEAD), (.jsonGet, .GET), (.jsonGet, .HEAD), (.localRead, .GET),
        (.localRead, .HEAD), (.entries, .GET), (.entries, .HEAD), (.status, .GET),
        (.status, .HEAD), (.health, .GET), (.health, .HEAD), (.ready, .GET), (.ready, .HEAD),
        (.metrics, .GET), (.metrics, .HEAD), (.watch, .GET), (.watch, .HEAD),
        (.logStream, .GET), (.logStream, .HEAD), (.snapshot, .GET), (.snapshot, .HEAD),
        (.history, .GET), (.history, .HEAD), (.diverged, .GET), (.diverged, .HEAD),
        (.position, .GET), (.position, .HEAD), (.versions, .GET), (.versions, .HEAD),
        (.positions, .GET), (.positions, .HEAD), (.positions, .POST),
        (.set, .GET), (.set, .POST), (.set, .PUT),
        (.delete, .GET), (.delete, .POST), (.delete, .DELETE),
        (.purge, .GET), (.purge, .POST),
        (.entry, .GET), (.entry, .HEAD), (.entry, .PUT), (.entry, .DELETE),
        (.batch, .POST), (.makeSnapshot, .POST), (.acknowledgement, .POST), (.promote, .POST),
        (.configuration, .GET), (.configuration, .HEAD), (.configuration, .PUT),
        (.promise, .POST), (.handOver, .POST), (.announce, .POST), (.repair, .POST),
        (.replaced, _),
        (.unknown, _):
        true
      default: false
      }
    }
  }

  private enum Paths {
    static let handOver = Array("/admin/handover".utf8)
    static let get = Array("/get".utf8)
    static let set = Array("/set".utf8)
    static let delete = Array("/delete".utf8)
    static let purge = Array("/purge".utf8)
    static let entries = Array("/kv".utf8)
    static let batch = Array("/batch".utf8)
    static let watch = Array("/watch".utf8)
    static let logStream = Array("/wal/stream".utf8)
    static let acknowledgement = Array("/wal/ack".utf8)
    static let position = Array("/wal/position".utf8)
    static let positions = Array("/wal/positions".utf8)
    static let versions = Array("/wal/versions".utf8)
    static let configuration = Array("/admin/config".utf8)
    static let status = Array("/status".utf8)
    static let health = Array("/health".utf8)
    static let healthz = Array("/healthz".utf8)
    static let ready = Array("/ready".utf8)
    static let metrics = Array("/metrics".utf8)
    static let snapshot = Array("/snapshot".utf8)
    static let diverged = Array("/admin/diverged".utf8)
    static let history = Array("/admin/history".utf8)
    static let makeSnapshot = Array("/admin/snapshot".utf8)
    static let promote = Array("/admin/promote".utf8)
    static let promise = Array("/admin/promise".utf8)
    static let announce = Array("/admin/announce".utf8)
    static let repair = Array("/admin/repair".utf8)
    static let getPrefix = Array("/get/".utf8)
    static let localReadPrefix = Array("/local_read/".utf8)
    static let entryPrefix = Array("/kv/".utf8)
    static let replaced = [
      "/next-replication-key", "/delete-next-replication-key", "/delete-replication-key",
    ].map { Array($0.utf8) }
  }

  /// The most that the body of that request may be. It is decoded later, and its parts are bounded
  /// then; this bounds what is kept until that.
  func bodyBytesMax(of request: StandardRequest) -> Int {
    let most =
      switch (Place(request.path), request.method) {
      case (.entry, .PUT): limits.valueBytesMax
      // A byte takes up to three in a form, six in JSON.
      case (.set, .POST), (.set, .PUT): 6 * (limits.valueBytesMax + limits.keyBytesMax) + 4_096
      case (.batch, .POST): 6 * limits.batchBytesMax
      case (.configuration, .PUT): ShardMap.fileBytesMax
      default: limits.headBytesMax
      }
    // What all bodies together may be is not there for this one later, either.
    return min(most, limits.bodyBytesMax)
  }

  /// Whether a request changes keys.
  func isWrite(_ request: StandardRequest) -> Bool {
    Place(request.path).isWritten(by: request.method)
  }

  /// The key of a `PUT` whose body is the value; nil for anything else.
  func keyPut(by request: StandardRequest) -> [UInt8]? {
    guard request.method == .PUT, case .entry(let path) = Place(request.path),
      Parameters(request.query) != nil, let key = decode(path: path), !key.isEmpty,
      key.count <= limits.keyBytesMax
    else { return nil }
    return key
  }

  /// Answers a request, or sees to it that it will be.
  func handle(_ request: StandardRequest, from lane: StandardLane) -> Handling {
    let place = Place(request.path)
    guard place.allows(request.method) else {
      writeError("\(request.method) is not for this path: use \(place.allow)")
      var answer = Answer(.methodNotAllowed, .json)
      answer.allow = place.allow
      return .now(answer)
    }
    guard let query = Parameters(request.query) else { return .now(badEncoding()) }
    if let handling = dividedOtherwise(request) { return handling }
    if node.merged != nil, place.needsLeader {
      writeError("this is for shards that have a leader: this one is leaderless")
      return .now(Answer(.conflict, .json))
    }
    switch place {
    case .get: return classicGet(query, lane)
    case .set: return set(request, query, lane)
    case .delete: return classicDelete(request, query, lane)
    case .purge: return heldBack(lane) ?? purge(query, lane)
    case .jsonGet(let key): return jsonGet(.jsonGet, key, query, lane)
    case .localRead(let key): return jsonGet(.localRead, key, query, lane)
    case .entry(let key): return entry(key, request, query, lane)
    case .entries: return entries(query, lane)
    case .batch: return batch(request, query, lane)
    case .watch: return watch(query, lane)
    case .logStream: return logStream(query, lane)
    case .acknowledgement: return acknowledge(query, lane)
    case .position: return position(lane)
    case .positions: return positions(request, lane)
    case .versions: return heldVersions(query, lane)
    case .configuration: return clusterConfiguration(request, query, lane)
    case .status: return status(lane)
    case .health: return health(lane)
    case .ready: return ready(lane)
    case .metrics: return metrics(lane)
    case .makeSnapshot: return makeSnapshot(lane)
    case .promote: return promote(query, lane)
    case .promise: return promise(query, lane)
    case .handOver: return handOver(query, lane)
    case .announce: return announced(query, lane)
    case .snapshot: return snapshot(request, query, lane)
    case .repair: return repair(lane)
    case .diverged: return diverged(query, lane)
    case .history: return history(query, lane)
    case .replaced:
      body.writeStaticString("gone: replicas follow the log, at /wal/stream")
      return .now(Answer(.gone))
    case .unknown:
      writeError("no such path")
      return .now(Answer(.notFound, .json))
    }
  }

  func badEncoding() -> Answer { badRequest("bad percent-encoding") }

  func badRequest(_ message: String) -> Answer {
    writeError(message)
    var answer = Answer(.badRequest, .json)
    // Whoever sends what is malformed may mean something else by what follows, too.
    answer.closes = true
    return answer
  }
}
