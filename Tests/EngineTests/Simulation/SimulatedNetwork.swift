import Engine
import SimulatedDisk
import WAL

/// What nodes say to one another.
enum SimulatedMessage {
  case streamRequest(stream: Int, after: LogPosition)
  case streamOpened(stream: Int, behind: LogPosition)
  indirect case streamRefused(stream: Int, StreamRefusal)
  case frame(stream: Int, SimulatedLog.Entry)
  case heartbeat(stream: Int, behind: LogPosition, end: UInt64, confirmed: UInt64)
  /// By either side.
  case streamClosed(stream: Int)
  case acknowledgement(LogPosition)
  case acknowledged(LogPosition)
  case survey(Int)
  indirect case report(Int, Succession.Report)
  case promiseRequest(Int, Epoch)
  indirect case promised(Int, Succession.Standing, mayLack: Bool)
  case promiseRefused(Int, highest: Epoch)
  case question(read: Int)
}

/// What happens to a node, or to all of them.
enum SimulatedEvent {
  case delivery(SimulatedMessage, from: Int)
  /// The follower's state machine has something to do.
  case tick(life: Int)
  case synced(life: Int)
  case heartbeat(life: Int)
  case watch(life: Int)
  /// The time that a start, or a promotion, gives others is over.
  case deadline(Int, life: Int)
  /// A node that may not lead without promises asks for them again.
  case stand(life: Int)
  case restart
  /// The next fault, or the next request of a client.
  case chaos
}

/// A queue of events in the order of their times; of one time, in the order in which they came.
struct SimulatedQueue {
  private struct Key {
    let time: UInt64
    let order: UInt32
    let slot: Int32

    static func < (left: Key, right: Key) -> Bool {
      (left.time, left.order) < (right.time, right.order)
    }
  }

  private var keys: [Key] = []
  private var events: [(node: Int, event: SimulatedEvent)] = []
  private var free: [Int32] = []
  private var order: UInt32 = 0

  mutating func add(_ event: SimulatedEvent, for node: Int, at time: UInt64) {
    let slot: Int32
    if let reused = free.popLast() {
      slot = reused
      events[Int(slot)] = (node, event)
    } else {
      slot = Int32(events.count)
      events.append((node, event))
    }
    order += 1
    keys.append(Key(time: time, order: order, slot: slot))
    var child = keys.count - 1
    while child > 0, keys[child] < keys[(child - 1) / 2] {
      keys.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func next() -> (time: UInt64, node: Int, event: SimulatedEvent)? {
    guard let first = keys.first else { return nil }
    let last = keys.removeLast()
    if !keys.isEmpty {
      keys[0] = last
      var parent = 0
      while true {
        var child = 2 * parent + 1
        guard child < keys.count else { break }
        if child + 1 < keys.count, keys[child + 1] < keys[child] { child += 1 }
        guard keys[child] < keys[parent] else { break }
        keys.swapAt(child, parent)
        parent = child
      }
    }
    free.append(first.slot)
    let (node, event) = events[Int(first.slot)]
    return (first.time, node, event)
  }
}

extension SimulatedQueue {
  /// Messages that would arrive behind that time are lost.
  mutating func loseDeliveries(behind time: UInt64) {
    lose { arrival, _, event in
      if case .delivery = event { arrival > time } else { false }
    }
  }

  mutating func lose(_ isLost: (_ time: UInt64, _ node: Int, SimulatedEvent) -> Bool) {
    let all = self
    self = SimulatedQueue()
    for key in all.keys.sorted(by: { $0 < $1 }) {
      let (node, event) = all.events[Int(key.slot)]
      if !isLost(key.time, node, event) { add(event, for: node, at: key.time) }
    }
  }
}

/// How a network treats what is sent over it.
struct SimulatedNetwork {
  /// Of a thousand messages so many are lost, come twice, and come very late.
  var lost = 0
  var doubled = 0
  var late = 0
  /// Those that may pass one another; the others of a pair of nodes stay in their order.
  var reordered = 0
  private(set) var cut: Set<Int> = []
  /// When the last message of a pair of nodes arrives.
  private var arrival: [UInt64]
  private var silentUntil: [UInt64]
  private let count: Int

  init(nodes count: Int) {
    self.count = count
    arrival = Array(repeating: 0, count: count * count)
    silentUntil = arrival
  }

  mutating func cut(_ from: Int, _ to: Int) { cut.insert(from * count + to) }

  /// Ends what keeps nodes apart.
  mutating func join() {
    cut = []
    for link in silentUntil.indices { silentUntil[link] = 0 }
  }

  mutating func heal() {
    join()
    (lost, doubled, late, reordered) = (0, 0, 0, 0)
  }

  /// When a message arrives: never, once, or twice.
  mutating func arrivals(
    _ from: Int, _ to: Int, at now: UInt64, _ random: inout SeededRandom
  ) -> (UInt64?, UInt64?) {
    let link = from * count + to
    guard !cut.contains(link), silentUntil[link] <= now else { return (nil, nil) }
    guard random.below(1_000) >= lost else {
      // What comes behind a lost one is often lost as well.
      if random.once(in: 2) { silentUntil[link] = now + random.next() % 3_000_000_000 }
      return (nil, nil)
    }
    var time = now + 100_000 + random.next() % 3_000_000
    if random.below(1_000) < late {
      time += random.next() % 4_000_000_000
    } else if random.below(1_000) >= reordered {
      time = max(time, arrival[link] + 1)
      arrival[link] = time
    }
    let again = random.below(1_000) < doubled ? time + random.next() % 8_000_000_000 : nil
    return (time, again)
  }
}
