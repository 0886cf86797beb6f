"""The workbooks."""

from datetime import date, time

import openpyxl
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from common import MADE, write_packed


def write(path, title, author, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    properties_of = book.properties
    properties_of.lastModifiedBy = author
    properties_of.title, properties_of.creator = title, author
    properties_of.created = properties_of.modified = MADE
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for column in range(1, len(rows[0]) + 1):
            sheet.column_dimensions[get_column_letter(column)].width = 22
        for row in sheet.iter_rows(min_row=2):
            for cell in row:
                if isinstance(cell.value, date):
                    cell.number_format = "yyyy-mm-dd"
                elif isinstance(cell.value, time):
                    cell.number_format = "hh:mm"
                elif isinstance(cell.value, float) and cell.value < 1:
                    cell.number_format = "0.0%"
        sheet.freeze_panes = "A2"
        sheet.auto_filter.ref = sheet.dimensions
    write_packed(path, book.save)


def dispatch_calendar():
    write("harbor/shipping/dispatch-calendar.xlsx", "Dispatch calendar, winter 2025", "Shipping desk", {
        "Last orders": [
            ("Day", "Weekday", "For delivery by", "Option", "Order placed before", "Remark"),
            (date(2025, 12, 5), "Friday", date(2025, 12, 13), "Abroad, zone 4", time(10, 0), "customs offices close early this month"),
            (date(2025, 12, 10), "Wednesday", date(2025, 12, 20), "Abroad, zones 2 and 3", time(12, 0), "no promise for islands"),
            (date(2025, 12, 12), "Friday", date(2025, 12, 23), "Bulky goods", time(9, 30), "two-person teams are booked out after this day"),
            (date(2025, 12, 15), "Monday", date(2025, 12, 23), "Abroad, zone 1", time(12, 0), "also for Belgium by road"),
            (date(2025, 12, 18), "Thursday", date(2025, 12, 24), "Standard", time(16, 0), "pick-up points two days earlier"),
            (date(2025, 12, 22), "Monday", date(2025, 12, 23), "Express", time(14, 0), "last express day of the year is 30 December"),
        ],
        "Carrier pick-ups": [
            ("Depot", "Gate", "Carrier", "Days", "First van", "Last van", "Share of parcels", "Extension"),
            ("North", 4, "Brackenline", "Monday to Friday", time(11, 30), time(17, 45), 0.62, 641),
            ("North", 5, "Tidewheel", "Monday to Saturday", time(15, 0), time(19, 15), 0.255, 642),
            ("North", 9, "Heavystead (bulky)", "Tuesday and Friday", time(7, 30), time(7, 30), 0.035, 645),
            ("South", 1, "Brackenline", "Monday to Friday", time(10, 15), time(16, 20), 0.07, 661),
            ("South", 2, "Fellcourier (express)", "Monday to Friday", time(14, 50), time(18, 5), 0.02, 662),
        ],
    })


def capacity_plan():
    write("nimbus/compute/capacity-plan.xlsx", "Halls and host generations", "Site operations", {
        "Halls": [
            ("Region", "Hall", "Opened or opening", "Racks", "Power kW", "Share in use", "Remark"),
            ("nor-1", "N1", date(2023, 2, 1), 144, 1150, 0.81, "river cooling"),
            ("nor-1", "N2", date(2023, 2, 1), 144, 1150, 0.775, "river cooling"),
            ("nor-1", "N3", date(2024, 9, 2), 96, 820, 0.44, ""),
            ("alp-1", "A1", date(2022, 6, 15), 210, 1700, 0.88, "no new racks"),
            ("alp-1", "A2", date(2022, 6, 15), 210, 1700, 0.86, ""),
            ("alp-1", "A3", date(2023, 11, 6), 180, 1540, 0.67, "dedicated cores are placed here first"),
            ("med-1", "M1", date(2024, 3, 20), 72, 560, 0.59, "the only hall for the time being"),
            ("med-1", "M2", date(2026, 4, 13), 108, 900, 0.0, "planned; dedicated cores from the opening on"),
        ],
        "Host generations": [
            ("Generation", "In service since", "Families", "Cores per host", "Memory GiB", "Hosts", "Leaves service", "Remark"),
            ("H3", date(2022, 6, 15), "g", 48, 384, 212, date(2025, 11, 28), "machines are moved while running, in the windows of the region"),
            ("H4", date(2023, 2, 1), "g, m", 64, 768, 530, date(2028, 1, 31), ""),
            ("H5", date(2024, 3, 20), "g, m, c", 96, 1152, 401, date(2029, 6, 29), "first with encrypted memory"),
            ("H6", date(2025, 5, 12), "m, c", 128, 2304, 64, date(2031, 3, 31), "firmware 2.4 or later only"),
        ],
    })


def device_calibration():
    write("linden/labs/device-calibration.xlsx", "Laboratory devices and calibrations", "Laboratory", {
        "Devices": [
            ("Device", "Name", "Room", "In use since", "Interval in days", "Done by", "Remark"),
            ("LD-01", "Blood count analyser", "Lab 1", date(2021, 3, 8), 180, "maker", "warm-up 25 minutes"),
            ("LD-02", "Chemistry analyser", "Lab 1", date(2022, 10, 17), 90, "maker", "runs its own water test at 06:30"),
            ("LD-04", "Centrifuge", "Lab 2", date(2019, 5, 20), 365, "technical service", "rotor is replaced after 7,000 runs"),
            ("LD-05", "Pipette 20 to 200 µl", "Lab 2", date(2023, 1, 9), 120, "laboratory", "weighed with water, ten times"),
            ("LD-07", "Microscope", "Lab 2", date(2018, 9, 3), 730, "maker", ""),
            ("LD-09", "Incubator", "Lab 3", date(2020, 6, 22), 180, "technical service", "36 °C; alarm beyond half a degree"),
            ("LD-11", "Balance", "Lab 2", date(2022, 2, 14), 365, "office of weights", "do not move it; the bubble must stay in the ring"),
        ],
        "Calibrations": [
            ("Date", "Device", "Deviation", "Limit", "Result", "Next due", "Signed"),
            (date(2025, 1, 14), "LD-02", 0.012, 0.03, "passed", date(2025, 4, 14), "KM"),
            (date(2025, 2, 3), "LD-05", 0.021, 0.02, "failed, adjusted", date(2025, 2, 10), "TR"),
            (date(2025, 2, 10), "LD-05", 0.008, 0.02, "passed", date(2025, 6, 10), "TR"),
            (date(2025, 3, 5), "LD-01", 0.015, 0.025, "passed", date(2025, 9, 1), "KM"),
            (date(2025, 4, 11), "LD-02", 0.019, 0.03, "passed", date(2025, 7, 10), "KM"),
            (date(2025, 5, 6), "LD-04", 0.009, 0.05, "passed, brushes replaced", date(2026, 5, 6), "HB"),
            (date(2025, 5, 19), "LD-09", 0.004, 0.014, "passed", date(2025, 11, 15), "HB"),
        ],
    })


if __name__ == "__main__":
    dispatch_calendar()
    capacity_plan()
    device_calibration()
