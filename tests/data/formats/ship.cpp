#include "ship.hpp"
#include <vector>

namespace harbour::ships {

// A ship.
class Ship : public Vessel {
public:
    explicit Ship(int length) : length_(length) {}
    virtual ~Ship() = default;

    bool operator==(const Ship& other) const {
        return length_ == other.length_;
    }

private:
    int length_;
};

template <typename T>
T longest(const std::vector<T>& ships) {
    T best = ships.front();
    for (const auto& ship : ships) {
        best = std::max(best, ship);
    }
    return best;
}

void Fleet::add(Ship ship) {
    ships_.push_back(ship);
}

Ship& Fleet::operator[](int n) {
    return ships_[n];
}

}  // namespace harbour::ships
